"""The harness: equal work is checked, ratios are right, the page shows what was measured. Nothing is timed for real."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv.engine.costs import ceilings, stats
from autoconv.kernels import device
from autoconv.programs.bench import result_tables
from autoconv.programs.bench.page import page
from autoconv.programs.cli import main
from bench import (
    compare,
    compare_refs,
    environment,
    equal_work,
    install_size,
    markdown,
    overview,
    peers,
    report,
    rounds,
    show,
    startup,
    workloads,
)

pytestmark = pytest.mark.slow

CPU = device.get("cpu")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture
def fakes(monkeypatch):
    """The fake peers, by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    monkeypatch.setattr(peers, "PEERS", {
        name: peers.Entry(name, f"fake_peers:{name}", (), ("click",))
        for name in ("Honest", "OtherLoss", "FewerParameters", "Lazy", "Broken", "Slower", "Steady")
    })


def run(names, mode, count=2, workload="lecture"):
    return rounds.compare(names, workload, 2, mode, rounds.Plan(count, 2, threads=1, steps=2), lambda text: None)


# Equal work.


@pytest.mark.parametrize(("name", "why"), [
    ("OtherLoss", "computes a loss of"), ("FewerParameters", "parameters; the net has"),
    ("Lazy", "1 of its 10 weights"),
])
def test_an_altered_net_is_not_timed(fakes, name, why):
    found = run(["Honest", name], "train")["peers"]
    assert found["Honest"]["status"] == "timed"
    assert found[name]["status"] == "wrong"
    assert why in found[name]["reason"]
    assert "images_per_s" not in found[name]


def test_a_peer_that_dies_is_reported_and_the_others_are_timed(fakes):
    found = run(["Broken", "Honest"], "train")["peers"]
    assert found["Broken"]["status"] == "failed"
    assert "the kernel is gone" in found["Broken"]["reason"]
    assert found["Honest"]["ratio"]["median"] == 1


def test_a_peer_that_trains_when_asked_for_answers_is_wrong():
    with pytest.raises(equal_work.WrongNetError, match="weights changed"):
        equal_work.check_trained("x", {"unchanged": 9, "arrays": 10}, "infer")


def test_a_loss_that_is_no_number_is_wrong():
    expected = equal_work.Reference(workloads.WORKLOADS["lecture"], 2)
    ready = {"parameters": expected.parameters, "loss": expected.loss}
    expected.check("x", ready)
    for loss in (float("nan"), expected.loss + 2e-4):
        with pytest.raises(equal_work.WrongNetError):
            expected.check("x", {**ready, "loss": loss})


def test_slower_is_slower(fakes):
    found = run(["Steady", "Slower"], "infer", 6)["peers"]
    assert found["Slower"]["ratio"]["low"] > 1.2
    assert len(found["Slower"]["seconds"]) == 6


# Shares of the ceilings.


def test_a_share_compares_with_the_lower_of_both_ceilings():
    ceiling = ceilings.Ceilings(CPU)
    found = ceilings.share(ceiling, lambda: sum(range(20_000)), 1e3, 10**6, 2)
    summary = ceilings.summarize(found, 1e3, 10**6)
    assert summary["bound"] == "bandwidth"
    fractions = [max(1e3 / f, 1e6 / b) / s for s, f, b in zip(found.seconds, found.peak_flops, found.peak_bandwidth)]
    assert found.fractions == pytest.approx(fractions)
    assert summary["ceiling_gflops"] > 1
    assert summary["ceiling_gbytes_per_s"] > 0.1


def test_the_ceiling_loops_compute_what_they_say():
    k = CPU.module("ceilings")
    x, start = np.array([0.5, 0.25], np.float32), np.ones((2, k.items(np.dtype(np.float32))), np.float32)
    y = np.empty_like(start)
    k.multiply_add(x, start, y, 2)
    assert (y == (1 * 0.5 + 0.25) * 0.5 + 0.25).all()
    k.copy(start[0], y[1])
    assert (y[1] == 1).all()


def test_the_ways_to_the_first_step_are_timed_with_empty_and_with_filled_caches(fakes, monkeypatch, capsys):
    monkeypatch.setattr(startup, "WAYS", {"fit": "fake_peers:Honest", "functional": "fake_peers:Honest"})
    assert startup.main(["--rounds", "1", "--threads", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[-2:]] == ["fit", "functional"]
    assert all(float(seconds) > 0 for row in rows[-2:] for seconds in row[1:3])
    monkeypatch.setattr(startup, "WAYS", {"fit": "fake_peers:Honest", "functional": "fake_peers:Broken"})
    assert startup.main(["--rounds", "1", "--threads", "1"]) == 1
    assert "the kernel is gone" in capsys.readouterr().out


# Statistics.


def test_ratios_are_taken_round_by_round():
    base = [1.0, 10.0, 100.0, 1.0, 10.0, 100.0]  # a machine that is busy now and then
    found = stats.ratio([2 * b for b in base], base)
    assert found["median"] == found["low"] == found["high"] == 2


def test_the_interval_holds_the_median_as_often_as_it_says():
    random = np.random.default_rng(0)
    for count in (3, 6, 10, 15):
        samples = random.standard_cauchy((2000, count))
        intervals = [stats.interval(s) for s in samples]
        held = np.mean([i["low"] <= 0 <= i["high"] for i in intervals])
        assert held == pytest.approx(intervals[0]["confidence"], abs=0.02)
        assert intervals[0]["confidence"] >= (0.95 if count >= 6 else 0.75)


def test_an_outlier_does_not_move_the_interval():
    calm = stats.interval([1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.0, 1.01, 0.99, 1.0])
    assert calm["high"] < 1.03
    assert stats.interval([1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.0, 1.01, 0.99, 50.0])["high"] < 1.03


def test_rounds_without_partners_are_an_error():
    with pytest.raises(ValueError, match="as many numerators as denominators"):
        stats.ratio([1.0, 2.0], [1.0])


# The environment.


def test_nothing_that_cripples_a_peer_reaches_it(monkeypatch):
    for name in environment.CRIPPLING:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("HOME", "/home/me")
    found = environment.clean(3)
    assert not set(environment.CRIPPLING) & set(found)
    assert found["OMP_NUM_THREADS"] == found["NUMBA_NUM_THREADS"] == "3"
    assert found["HOME"] == "/home/me"


def test_the_install_size_counts_what_a_package_needs():
    assert {"numpy", "numba", "llvmlite", "click"} <= set(install_size.closure(["autoconv"]))
    assert "pytest" not in install_size.closure(["autoconv"])  # an extra's
    assert install_size.count_bytes(["autoconv"]) > install_size.count_bytes(["numba"]) > 10e6


# The commands.


def test_compare_writes_every_round_and_reports_who_is_absent(fakes, tmp_path, capsys, monkeypatch):
    peers.PEERS["Absent"] = peers.Entry("Absent", "no:One", ("no_such_framework",), ())
    monkeypatch.setattr(workloads, "WORK", {"train": 1.0, "infer": 1.0})
    file = tmp_path / "results.json"
    code = compare.main(["--peers", "Honest,Absent", "--mode", "train,start", "--rounds", "2", "--threads", "1",
                         "--batch-size", "2", "--json", str(file)])
    out = capsys.readouterr().out
    assert code == 0
    assert "not installed: no_such_framework" in out
    found = json.loads(file.read_text())
    assert found["threads"] == 1
    assert found["machine"]["cpu"]
    assert found["peers"]["Absent"]["status"] == "absent"
    train, start = found["results"]
    assert len(train["peers"]["Honest"]["seconds"]) == 2
    assert start["peers"]["Honest"]["cold_s"] > 0
    assert len(start["peers"]["Honest"]["warm_s"]) == 2
    assert "Honest" in page([found])


def test_the_overview_has_a_line_for_each_net_with_the_fastest_rival(tmp_path, capsys):
    def timed(speed, times):
        return {"status": "timed", "images_per_s": {"median": speed, "low": speed, "high": speed},
                "ratio": {"median": times, "low": 0.9 * times, "high": 1.1 * times, "confidence": 0.97}}

    found = {"autoconv": {**timed(900.0, 1.0), "peak_memory": 2e8}, "torch": {**timed(300.0, 3.0), "peak_memory": 3e8},
             "jax": {**timed(450.0, 2.0), "peak_memory": 4e8}, "keras": {"status": "failed", "reason": "x"}}
    answers = {"autoconv": timed(100.0, 2.0), "torch": timed(400.0, 0.5), "mnn": timed(200.0, 1.0)}
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"schema": 1, "results": [
        {"workload": "resnet20", "batch_size": 64, "mode": "train", "peers": found},
        {"workload": "resnet20", "batch_size": 1, "mode": "infer", "peers": answers},
        {"workload": "wide", "batch_size": 64, "mode": "infer", "peers": {"autoconv": {"status": "wrong"}}},
    ]}))
    assert overview.main([str(file)]) == 0
    train, infer, wrong, _, _, _, memory = capsys.readouterr().out.splitlines()[-7:]
    assert " ".join(train.split()) == "resnet20, 64 train 900 JAX, jit 450 2.00 1.80 .. 2.20 1.4 2.2"
    assert " ".join(infer.split()) == "resnet20, 1 infer 100 MNN 200 0.50 0.45 .. 0.55 0.8 1.2"
    assert " ".join(wrong.split()) == "wide, 64 infer wrong"
    assert " ".join(memory.split()) == "resnet20, 64 200 PyTorch 300 yes"
    with pytest.raises(SystemExit) as error:
        overview.main([str(tmp_path / "none.json")])
    assert error.value.code == 1


@pytest.mark.parametrize(("confidence", "head", "cell"), [
    (0.97, "97% interval", "2.70 .. 3.30"), (0.0, "interval", "")])
def test_a_framework_alone_is_the_rival_and_one_process_gives_no_interval(confidence, head, cell):
    def timed(speed, times):
        return {"status": "timed", "images_per_s": {"median": speed, "low": speed, "high": speed},
                "ratio": {"median": times, "low": 0.9 * times, "high": 1.1 * times, "confidence": confidence}}

    result = {"workload": "lecture", "batch_size": 64, "mode": "infer",
              "peers": {"autoconv": timed(900.0, 1.0), "torch": timed(300.0, 3.0)}}
    line = overview.format_tables([result]).splitlines()[2]
    assert " ".join(line.split()) == " ".join(f"lecture, 64 infer 900 PyTorch 300 3.00 {cell}".split())
    lines = show.entry(result).splitlines()
    assert lines[1].endswith(f"  {head}  MB for the net")
    assert lines[-1].split("3.00")[1].strip() == cell
    assert any("all rounds ran in one process" in remark for remark in show.remarks([result])) == (not cell)
    assert ("0% interval" in page([{**results(), "results": [result]}])) is False


def test_a_share_above_100_percent_is_blank_with_the_reason():
    kernel = results()["kernels"][0]
    for median, high, shown in ((0.4, 0.42, "40%  38% .. 42%"), (0.9, 1.3, "90%"), (81.61, 90.0, "")):
        one = {**kernel, "fraction": {"median": median, "low": 0.38, "high": high}}
        text = result_tables.kernels([one])
        assert " ".join(text.splitlines()[2].split("25 GB/s")[1].split()) == " ".join(shown.split())
        assert ("A share above 100% is left blank. Wide 3x3 layers" in text) == (high > 1)
        assert "8161%" not in page([{**results(), "kernels": [one]}])


def test_compare_fails_where_a_net_is_wrong(fakes, capsys):
    assert compare.main(["--peers", "Honest,OtherLoss", "--mode", "infer", "--rounds", "1", "--threads", "1",
                         "--batch-size", "2", "--quick"]) == 1
    assert "OtherLoss: wrong" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--workload", "lectrue"], ["--peers", "pytorch"], ["--batch-size", "0"],
                                   ["--rounds", "0"], ["--json", "/no/such/folder/x.json"]])
def test_compare_says_what_is_wrong_with_an_argument(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        compare.main(wrong)
    assert error.value.code == 2
    assert capsys.readouterr().err


def test_two_versions_are_told_apart(fakes, capsys, monkeypatch, tmp_path):
    """The same harness times both sides; here the sides are two fakes, of which one is three times as slow."""
    monkeypatch.setattr(compare_refs, "unpack", lambda ref, target: target)
    monkeypatch.setattr(compare_refs, "_check_code", lambda tree, code: None)
    monkeypatch.setattr(workloads, "WORK", {"train": 1.0, "infer": 1.0})
    asked = []

    def each_its_own(trees, job, *rest, **more):
        taken = {}
        for side, name in zip(trees, asked[-1]):
            taken |= original({side: trees[side]}, {**job, "factory": f"fake_peers:{name}"}, *rest, **more)
        return taken

    original = compare_refs._rounds
    monkeypatch.setattr(compare_refs, "_rounds", each_its_own)
    peers.PEERS["autoconv"] = peers.PEERS["Steady"]
    arguments = ["old", "new", "--workload", "lecture", "--mode", "infer", "--rounds", "6", "--threads", "1",
                 "--no-kernels", "--tolerance", "0.5"]
    asked.append(("Steady", "Slower"))
    assert compare_refs.main(arguments) == 1
    assert "SLOWER: lecture infer" in capsys.readouterr().out
    asked.append(("Slower", "Steady"))
    assert compare_refs.main(arguments) == 0


def test_two_versions_are_compared_on_each_net_in_training_in_batches_and_one_image_at_a_time(monkeypatch, capsys):
    monkeypatch.setattr(compare_refs, "unpack", lambda ref, target: target)
    jobs = {}

    def same(trees, job, rounds, label, check, say):
        jobs[label] = job
        return {side: [1.0] * rounds for side in trees}

    monkeypatch.setattr(compare_refs, "_rounds", same)
    assert compare_refs.main(["old", "new", "--rounds", "6", "--no-kernels"]) == 0
    asked = {label: (job["workload"], job["mode"], job["batch_size"]) for label, job in jobs.items()}
    modes = {"train": ("train", 64), "infer": ("infer", 64), "infer-1": ("infer", 1)}
    assert asked == {f"{net} {mode}": (net, *how) for net in ("lecture", "lecture-dropout", "lecture-bn")
                     for mode, how in modes.items()}
    out = capsys.readouterr().out
    assert all(label in out for label in jobs)


@pytest.mark.parametrize("wrong", [["--workload", "lectrue"], ["--mode", "infer-2"]])
def test_comparing_versions_says_what_is_wrong_with_an_argument(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        compare_refs.main(["old", "new", *wrong])
    assert error.value.code == 2
    assert wrong[1] in capsys.readouterr().err


def test_the_verdict_needs_the_whole_interval_beyond_the_tolerance():
    def ratio(low, kernel=False):
        return {"median": 2.0, "low": low, "high": 3.0, "kernel": kernel}

    found = {"step": ratio(1.11), "unsure": ratio(1.09), "kernel": ratio(1.19, True), "slow kernel": ratio(1.21, True)}
    assert compare_refs.verdict(found, 0.10) == ["step", "slow kernel"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_an_unknown_commit_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no-such-ref"):
        compare_refs.unpack("no-such-ref", tmp_path / "tree")


def test_autoconv_bench_times_a_net_and_its_kernels(tmp_path):
    file, html = tmp_path / "bench.json", tmp_path / "bench.html"
    done = CliRunner().invoke(main, ["bench", "--quick", "--rounds", "1", "--batch-size", "2", "--json", str(file),
                                     "--html", str(html)])
    assert done.exit_code == 0, done.output
    assert "images/s" in done.output
    assert "conv weight gradient" in done.output
    found = json.loads(file.read_text())
    assert {entry["mode"] for entry in found["results"]} == {"train", "infer"}
    assert all(k["fraction"]["median"] > 0 for k in found["kernels"])
    assert html.read_text().count("<svg") >= 3


def test_autoconv_bench_prints_json_alone():
    done = CliRunner().invoke(main, ["bench", "--quick", "--rounds", "1", "--batch-size", "1", "--no-kernels",
                                     "--json", "-"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kernels"] == []


# The page.


def results():
    """Results as bench.compare and `autoconv bench` write them, with made-up numbers."""
    spread = {"median": 1234.0, "low": 1200.0, "high": 1300.0}
    one = {"status": "timed", "images_per_s": spread, "seconds": [0.1], "peak_memory": 200_000_000,
           "ratio": {"median": 1.0, "low": 1.0, "high": 1.0, "confidence": 0.97}}
    other = {**one, "images_per_s": {"median": 456.0, "low": 400.0, "high": 500.0},
             "ratio": {"median": 2.71, "low": 2.5, "high": 3.0, "confidence": 0.97}}
    both = {"autoconv": one, "torch": other, "jax": {"status": "absent", "reason": "not installed: jax <x>"}}
    start = {"status": "timed", "cold_s": 9.5, "warm": {"median": 1.5, "low": 1.4, "high": 1.6}}
    reached = {"status": "timed", "seconds_to_target": {"median": 12.5, "low": 12, "high": 13},
               "reached": "3 of 3 runs", "runs": []}
    kernel = {"workload": "lecture", "kind": "conv forward", "layer": "28x28x1 -> 26x26x32", "flops": 25e6,
              "bytes": 6e6, "gflops": 40.0, "gbytes_per_s": 10.0, "ceiling_gflops": 250.0, "ceiling_gbytes_per_s": 25.0,
              "bound": "bandwidth", "fraction": {"median": 0.4, "low": 0.38, "high": 0.42}, "seconds": [0.001]}
    entry = {"workload": "lecture", "batch_size": 64}
    machine = {"cpu": "A processor", "cpu_flags": ["avx2", "fma"], "processors": 2, "memory_gb": 8.0,
               "system": "Linux 6", "python": "3.12.1", "date": "2026-01-02T03:04:05+00:00"}
    named = {"autoconv": "autoconv", "torch": "PyTorch", "jax": "JAX, jit"}
    return {
        "schema": 1, "machine": machine, "threads": 2, "device": "cpu", "kernels": [kernel],
        "peers": {n: {"label": label, "status": "present", "versions": {n: "1.2"}, "install_bytes": 10**8 * (i + 1)}
                  for i, (n, label) in enumerate(named.items())},
        "results": [
            {**entry, "mode": "train", "peers": both}, {**entry, "mode": "infer", "peers": both},
            {**entry, "mode": "start", "peers": {"autoconv": start}},
            {**entry, "mode": "accuracy", "recipe": {"target": 0.99}, "peers": {"autoconv": reached}},
        ],
    }


def test_the_page_shows_all_and_needs_no_network():
    text = page([results()])
    for heading in ("Training", "Inference", "Time to accuracy", "From start to the first training step",
                    "Peak memory in training", "Install size", "Kernels against this machine's own ceilings",
                    "Not timed"):
        assert f"<h2>{heading}</h2>".replace("'", "&#x27;") in text
    for number in ("1,234 images/s", "456", "2.71", "12.5 s", "9.5 s", "200 MB", "40%", "A processor", "torch 1.2"):
        assert number in text
    assert "jax &lt;x&gt;" in text
    assert "http" not in text
    assert "<script" not in text


def test_results_of_one_machine_share_its_description():
    again, elsewhere = results(), results()
    again["threads"], elsewhere["machine"]["cpu"] = 1, "Another processor"
    text = page([results(), again, elsewhere])
    assert text.count("<dt>Processor</dt>") == 2
    assert "2 of 2 processors, 1 of 2 processors" in text


def test_the_report_reads_what_pytest_benchmark_wrote(tmp_path):
    file, found = tmp_path / "kernels.json", results()
    file.write_text(json.dumps({
        "machine_info": {"autoconv": {"machine": found["machine"], "threads": 2}},
        "benchmarks": [{"extra_info": found["kernels"][0]}, {"extra_info": {}}],
    }))
    assert report.load(file)["kernels"] == found["kernels"]
    assert "28x28x1" in page([report.load(file)])


def test_the_page_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one measurement"):
        page([{**results(), "results": [], "kernels": []}])


def test_the_report_reads_files_and_writes_page_and_docs(tmp_path):
    file, docs, html = tmp_path / "r.json", tmp_path / "docs.md", tmp_path / "page.html"
    file.write_text(json.dumps(results()))
    docs.write_text(f"before\n{markdown.BEGIN}\nyesterday\n{markdown.END}\nafter\n")
    assert report.main([str(file), "--html", str(html), "--docs", str(docs)]) == 0
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    cell = "456; 2.71 (2.50 to 3.00); 200 MB"
    assert "|  | lecture, 64, train | lecture, 64, infer |\n|---|---:|---:|\n" in text
    assert f"| PyTorch | {cell} | {cell} |\n| JAX, jit | absent | absent |" in text
    assert "| autoconv | 9.5 | 1.5 |" in text
    assert "| autoconv | 12.5 | 3 of 3 runs |" in text
    assert "| conv, 28x28x1 -> 26x26x32 | forward 10 GB/s (40%) |" in text
    assert "<svg" in html.read_text()


def test_the_report_refuses_what_is_no_result(tmp_path, capsys):
    file = tmp_path / "r.json"
    for text in ("{}", "no json", '{"schema": 99}'):
        file.write_text(text)
        with pytest.raises(SystemExit) as error:
            report.main([str(file), "--html", str(tmp_path / "page.html")])
        assert error.value.code == 1
        assert "r.json" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_charts(tmp_path, scheme):
    sync_api = pytest.importorskip("playwright.sync_api")
    file = tmp_path / "page.html"
    file.write_text(page([results()]), encoding="utf-8")
    said = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        tab = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme).new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
        tab.goto(file.as_uri())
        charts = tab.locator("svg")
        assert charts.count() == 7
        for i in range(charts.count()):
            box = charts.nth(i).bounding_box()
            assert box["width"] > 250
            assert box["height"] > 30
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
        browser.close()
    assert said == []


