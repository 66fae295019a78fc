"""`python -m bench.convolutions`: every convolution of the nets, and what is said of them."""

import json

from bench import convolutions


def test_every_pass_of_every_convolution_is_measured_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(convolutions.SUITE, "lecture", convolutions.SUITE["lecture"]._replace(batch_size=2))
    monkeypatch.setattr(convolutions, "IN_NO_NET", convolutions.IN_NO_NET._replace(batch_size=2))
    file = tmp_path / "found.json"
    assert convolutions.main(["--net", "lecture", "--rounds", "1", "--threads", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())["convolutions"]
    passes = [f["which"] for f in found if f["nets"] == ["lecture"]]
    assert passes == [*["forward, pooled", "gradients, pooled"] * 2, "forward", "input gradient", "weight gradient"]
    assert "14x14x128 -> 14x14x128, 5x5" in {f["layer"] for f in found}
    assert all(f["gflops"] > 0 and f["share"] > 0 for f in found)
    assert "28x28x1 -> 13x13x32" in capsys.readouterr().out


def test_groups_have_a_line_with_their_lowest_share():
    def kernel(layer, share):
        return convolutions.Measurement(["x"], layer, "forward", 1e-3, 100.0, share)

    found = [kernel("28x28x1 -> 13x13x32", 0.7), kernel("16x16x128 -> 16x16x128", 1.6),
             kernel("16x16x128 -> 16x16x128, 1x1", 0.8), kernel("8x8x64 -> 8x8x64", 0.7)]
    first, wide, others = (" ".join(line.split()) for line in convolutions.format_tables(found).splitlines()[-3:])
    assert first.endswith("1 70% 70% 70% 1 65% 90%")
    assert wide.endswith("1 160% 160% 160% 1 150% 180%")
    assert others.endswith("2 70% 75% 75% 1 75% 90%")
