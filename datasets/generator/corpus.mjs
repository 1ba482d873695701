import fs from 'node:fs';
import path from 'node:path';
import { drawColours } from './palette.mjs';
import { Random, hash } from './random.mjs';
import { encodePng, halve, renderPortrait } from './render.mjs';
import { BASE_STYLES, HELD_OUT_STYLES, captionTags } from './styles.mjs';

const SIZE = 64;
const TEST_SHARE = 0.04;
const DRAWS_WITHOUT_NEW_PORTRAIT = 10000;

/** Writes the pictures that the base model is trained on, as a Hugging Face imagefolder. */
export function writeCorpus({ output, countPerStyle, countPerHeldOutStyle, seed }) {
  const images = path.join(output, 'images');
  fs.mkdirSync(images, { recursive: true });
  const lines = [];
  const counts = {};

  const jobs = [
    ...Object.entries(BASE_STYLES).map(([style, definition]) => ({ style, definition, count: countPerStyle, base: true })),
    ...Object.entries(HELD_OUT_STYLES).map(([style, definition]) => ({ style, definition, count: countPerHeldOutStyle, base: false })),
  ];
  for (const { style, definition, count, base } of jobs) {
    for (const { portrait, colours } of distinctPortraits(style, definition, count, seed)) {
      const split = base ? splitOf(style, portrait, colours) : 'vae';
      const fileName = `images/${String(lines.length + 1).padStart(6, '0')}.png`;
      const pixels = halve(renderPortrait(style, portrait.options, 2 * SIZE), 2 * SIZE);
      fs.writeFileSync(path.join(output, fileName), encodePng(pixels, SIZE, SIZE));

      const text = [definition.tag, ...captionTags(portrait, colours)].join(', ');
      lines.push(JSON.stringify({ file_name: fileName, text, split, style }));
      counts[style] ??= {};
      counts[style][split] = (counts[style][split] ?? 0) + 1;
    }
  }
  fs.writeFileSync(path.join(output, 'metadata.jsonl'), lines.join('\n') + '\n');
  return counts;
}

function* distinctPortraits(style, definition, count, seed) {
  const random = new Random(`${seed}/${style}`);
  const seen = new Set();
  let fruitless = 0;
  while (seen.size < count) {
    const colours = drawColours(random);
    const portrait = definition.portrait(random, colours);
    const key = JSON.stringify(portrait.options);
    if (seen.has(key)) {
      if (++fruitless > DRAWS_WITHOUT_NEW_PORTRAIT) throw new Error(`${style} has fewer than ${count} portraits.`);
      continue;
    }
    fruitless = 0;
    seen.add(key);
    yield { portrait, colours };
  }
}

/**
 * Held-out captions: a combination of style, hair shape, hair colour, skin and background belongs to one split
 * as a whole, whatever the seed.
 */
function splitOf(style, portrait, colours) {
  const combination = [style, portrait.hairShape, portrait.hairColour, portrait.skin, colours.background].join('|');
  return hash(combination) / 2 ** 32 < TEST_SHARE ? 'test' : 'train';
}
