import fs from 'node:fs';
import path from 'node:path';
import { BACKGROUND_COLOURS, drawColours } from './palette.mjs';
import { Random } from './random.mjs';
import { encodePng, placeOnCanvas, renderPortrait } from './render.mjs';
import { adventurer, captionTags, dylan, lorelei, pixelArt } from './styles.mjs';

const PORTRAIT = 512;

const EXPRESSIONS = {
  mika: ['smile', 'big smile', 'open mouth', 'neutral face', 'frown', 'angry'],
  dylan: ['smile', 'big smile', 'neutral face', 'frown', 'angry'],
  lorelei: ['smile', 'big smile', 'open mouth', 'frown'],
  pixelArt: ['smile', 'open mouth', 'neutral face', 'frown'],
};

const HAIR_SHAPES = {
  dylan: ['short hair', 'long hair', 'bob cut', 'medium hair', 'curly hair', 'spiky hair', 'flat top'],
  lorelei: ['short hair', 'long hair', 'medium hair', 'bob cut', 'curly hair', 'hair bun', 'ponytail', 'mohawk'],
  pixelArt: ['short hair', 'long hair', 'medium hair', 'curly hair', 'mohawk'],
};

/**
 * The sample datasets. `prefix` goes before the other tags; a style dataset has none, because its style is what
 * the trigger word will stand for.
 */
const DATASETS = [
  { folder: 'mika', style: 'adventurer', prefix: ['adventurer style'], draw: drawMika },
  { folder: 'dylan-style', style: 'dylan', prefix: [], draw: styleSampler('dylan', dylan) },
  { folder: 'lorelei-style', style: 'lorelei', prefix: [], draw: styleSampler('lorelei', lorelei) },
  { folder: 'pixel-art-style', style: 'pixelArt', prefix: [], draw: styleSampler('pixelArt', pixelArt) },
];

/**
 * The canvas of each picture, and where the portrait stands on it. Where it stands off-centre, a centre crop
 * would cut into it, and the metadata gives the crop to take; it does so, too, where a centre crop is right but
 * leaves out more than a quarter, of which one is warned. Portraits stand on the bottom edge, since some
 * designs end there.
 */
const SQUARE = { width: 512, height: 512, left: 0, top: 0 };
const LAYOUTS = [
  SQUARE, SQUARE, SQUARE,
  { width: 768, height: 512, left: 128, top: 0 },
  SQUARE, SQUARE,
  { width: 768, height: 512, left: 0, top: 0, offCentre: true },
  SQUARE, SQUARE,
  { width: 512, height: 704, left: 0, top: 192, offCentre: true },
  SQUARE, SQUARE,
  { width: 640, height: 512, left: 64, top: 0 },
  SQUARE, SQUARE,
  { width: 896, height: 640, left: 352, top: 128, offCentre: true },
  SQUARE, SQUARE,
  { width: 768, height: 512, left: 240, top: 0, offCentre: true },
  SQUARE,
];

/** Writes each dataset as PNG files with a caption beside each, and a metadata.jsonl that says the same. */
export function writeDatasets({ output, seed }) {
  const summary = {};
  for (const dataset of DATASETS) {
    const folder = path.join(output, dataset.folder);
    fs.mkdirSync(folder, { recursive: true });
    const lines = [];
    let bytes = 0;
    dataset.draw(new Random(`${seed}/${dataset.folder}`), LAYOUTS.length).forEach(({ portrait, colours }, index) => {
      const layout = LAYOUTS[index];
      const name = `${dataset.folder}-${String(index + 1).padStart(2, '0')}`;
      const text = [...dataset.prefix, ...captionTags(portrait, colours)].join(', ');
      const png = encodePng(drawPicture(dataset.style, portrait, colours, layout), layout.width, layout.height);
      fs.writeFileSync(path.join(folder, `${name}.png`), png);
      fs.writeFileSync(path.join(folder, `${name}.txt`), text + '\n');

      const cutOff = 1 - Math.min(layout.width, layout.height) / Math.max(layout.width, layout.height);
      const crop = layout.offCentre || cutOff > 0.25 ? { crop: [layout.left, layout.top, PORTRAIT, PORTRAIT] } : {};
      lines.push(JSON.stringify({ file_name: `${name}.png`, text, ...crop }));
      bytes += png.length;
    });
    fs.writeFileSync(path.join(folder, 'metadata.jsonl'), lines.join('\n') + '\n');
    summary[dataset.folder] = { images: lines.length, kilobytes: Math.round(bytes / 1024) };
  }
  return summary;
}

function drawPicture(style, portrait, colours, layout) {
  const pixels = renderPortrait(style, portrait.options, PORTRAIT);
  const background = BACKGROUND_COLOURS[colours.background];
  return placeOnCanvas(pixels, PORTRAIT, layout.width, layout.height, layout.left, layout.top, background);
}

/** The held-out character. No picture of the base corpus has its hair shape or its glasses. */
export function drawMika(random, count) {
  const expressions = deck(random, EXPRESSIONS.mika, count);
  const backgrounds = deck(random, Object.keys(BACKGROUND_COLOURS), count);
  return expressions.map((expression, index) => {
    const colours = { hair: 'blue', clothing: 'white', skin: 'tan', skinShade: 0, background: backgrounds[index] };
    const portrait = adventurer(random, colours, {
      hairShape: 'twin buns', hair: 'long23', eyewear: 'glasses', glasses: 'variant05', feature: 'blush', expression,
    });
    return { portrait, colours };
  });
}

function styleSampler(style, drawPortrait) {
  return (random, count) => {
    const expressions = deck(random, EXPRESSIONS[style], count);
    const hairShapes = deck(random, HAIR_SHAPES[style], count);
    const backgrounds = deck(random, Object.keys(BACKGROUND_COLOURS), count);
    return expressions.map((expression, index) => {
      const colours = drawColours(random, backgrounds[index]);
      return { portrait: drawPortrait(random, colours, { expression, hairShape: hairShapes[index] }), colours };
    });
  };
}

/** `count` values in random order, each of the given ones equally often (within one). */
function deck(random, values, count) {
  const cards = Array.from({ length: count }, (_, index) => values[index % values.length]);
  for (let last = cards.length - 1; last > 0; last--) {
    const other = Math.floor(random.next() * (last + 1));
    [cards[last], cards[other]] = [cards[other], cards[last]];
  }
  return cards;
}
