// Draws the initial picture: a bay in the evening, with hills, a boat and a pier. It is always the same.

export function drawPhoto(canvas) {
  const [w, h] = [(canvas.width = 384), (canvas.height = 256)];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const random = generator(7);
  sky(context, w, h);
  hills(context, w, 0.46 * h, random);
  water(context, w, h, random);
  boat(context, 0.36 * w, 0.66 * h);
  pier(context, w, h);
  grain(context, w, h, random);
}

// Generates random numbers 0..1, the same in every browser.
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function gradient(context, from, to, stops) {
  const made = context.createLinearGradient(0, from, 0, to);
  stops.forEach(([at, colour]) => made.addColorStop(at, colour));
  return made;
}

function sky(context, w, h) {
  context.fillStyle = gradient(context, 0, 0.56 * h, [[0, "#2d4a86"], [0.5, "#a78fb4"], [0.8, "#f2b38a"], [1, "#ffd9a0"]]);
  context.fillRect(0, 0, w, 0.56 * h);
  context.fillStyle = "#fff3cf";
  context.beginPath();
  context.arc(0.72 * w, 0.38 * h, 17, 0, 7);
  context.fill();
  context.fillStyle = "rgb(255 235 225 / 45%)";
  for (const [x, y, long] of [[0.2, 0.16, 70], [0.28, 0.19, 90], [0.55, 0.1, 60], [0.62, 0.13, 84], [0.86, 0.23, 70]]) {
    context.beginPath();
    context.ellipse(x * w, y * h, long / 2, 4.5, 0, 0, 7);
    context.fill();
  }
}

function hills(context, w, base, random) {
  for (const [height, colour, lift] of [[62, "#7b6c95", 0], [42, "#54547c", 8], [24, "#343f5e", 17]]) {
    const waves = [0, 1, 2, 3].map((i) => [0.008 * 1.9 ** i, random() * 7, height / 1.9 ** (i + 1)]);
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(0, base + 40);
    for (let x = 0; x <= w; x += 2) {
      const up = waves.reduce((sum, [f, shift, size]) => sum + size * Math.sin(f * x + shift), 0);
      context.lineTo(x, base + lift - height / 3 - up * 0.8);
    }
    context.lineTo(w, base + 40);
    context.fill();
  }
}

function water(context, w, h, random) {
  const top = 0.54 * h;
  context.fillStyle = gradient(context, top, h, [[0, "#e6b08e"], [0.25, "#8f86a6"], [1, "#22375f"]]);
  context.fillRect(0, top, w, h - top);
  for (let i = 0; i < 420; i++) {
    const depth = random() ** 1.6, y = top + depth * (h - top), long = 3 + 26 * depth * random();
    const sunny = Math.abs(random() - 0.5) < 0.35, x = sunny ? 0.72 * w + (random() - 0.5) * (30 + 90 * depth) : random() * w;
    context.fillStyle = sunny ? `rgb(255 226 170 / ${0.5 - 0.35 * depth})` : `rgb(18 30 58 / ${0.12 + 0.16 * random()})`;
    context.fillRect(x - long / 2, y, long, 1 + 1.5 * depth);
  }
}

function boat(context, x, y) {
  context.fillStyle = "rgb(12 20 40 / 35%)";
  context.beginPath();
  context.ellipse(x, y + 14, 46, 5, 0, 0, 7);
  context.fill();
  context.fillStyle = "#8c2f2b";
  context.beginPath();
  context.moveTo(x - 46, y - 4);
  context.quadraticCurveTo(x, y + 4, x + 50, y - 8);
  context.quadraticCurveTo(x + 38, y + 12, x + 22, y + 13);
  context.lineTo(x - 28, y + 13);
  context.quadraticCurveTo(x - 40, y + 9, x - 46, y - 4);
  context.fill();
  context.fillStyle = "#e9e2d2";
  context.fillRect(x - 43, y - 1, 88, 2.5);
  context.fillStyle = "#3a2a20";
  context.fillRect(x - 2, y - 100, 3, 98);
  for (const [tip, foot, colour] of [[-96, -44, "#f7f1e3"], [-90, 40, "#e3d3b8"]]) {
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(x + Math.sign(foot) * 2, y + tip);
    context.quadraticCurveTo(x + 0.8 * foot, y - 50, x + foot, y - 9);
    context.lineTo(x + Math.sign(foot) * 2, y - 9);
    context.fill();
  }
}

function pier(context, w, h) {
  context.fillStyle = "#241a16";
  for (let i = 0; i < 7; i++) context.fillRect(w - 14 - 21 * i, 0.79 * h - 1.2 * i, 5, 0.24 * h);
  context.fillStyle = "#5b4233";
  context.fillRect(w - 152, 0.76 * h, 152, 9);
  context.fillStyle = "#7d5d47";
  for (let i = 0; i < 16; i++) context.fillRect(w - 151 + 9.6 * i, 0.76 * h, 8, 4);
  context.fillStyle = "#241a16";
  context.fillRect(w - 122, 0.53 * h, 3.5, 0.23 * h);
  context.fillStyle = "#ffdf8a";
  context.beginPath();
  context.arc(w - 120, 0.52 * h, 6, 0, 7);
  context.fill();
}

// Adds film grain, so that a smoothing kernel has a visible effect.
function grain(context, w, h, random) {
  const image = context.getImageData(0, 0, w, h);
  for (let i = 0; i < image.data.length; i += 4) {
    const noise = 7 * (random() + random() - 1);
    for (let c = 0; c < 3; c++) image.data[i + c] += noise;
  }
  context.putImageData(image, 0, 0);
}
