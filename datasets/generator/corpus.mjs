import fs from 'node:fs';
import path from 'node:path';
import { drawMika } from './datasets.mjs';
import { drawColours } from './palette.mjs';
import { Random, hash } from './random.mjs';
import { encodePng, halve, renderPortrait } from './render.mjs';
import { BASE_STYLES, HELD_OUT_STYLES, captionTags } from './styles.mjs';

const SIZE = 64;
const CHARACTER_COUNT = 300;
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
      write(style, portrait, base ? splitOf(style, portrait, colours) : 'vae', [definition.tag, ...captionTags(portrait, colours)]);
    }
  }

  // Only the classifier that judges pictures sees the held-out character.
  for (const { portrait, colours } of drawMika(new Random(`${seed}/classifier/mika`), CHARACTER_COUNT)) {
    write('adventurer', portrait, 'character', [BASE_STYLES.adventurer.tag, 'mika', ...captionTags(portrait, colours)]);
  }
  fs.writeFileSync(path.join(output, 'metadata.jsonl'), lines.join('\n') + '\n');
  return counts;

  function write(style, portrait, split, tags) {
    const fileName = `images/${String(lines.length + 1).padStart(6, '0')}.png`;
    const pixels = halve(renderPortrait(style, portrait.options, 2 * SIZE), 2 * SIZE);
    fs.writeFileSync(path.join(output, fileName), encodePng(pixels, SIZE, SIZE));
    lines.push(JSON.stringify({ file_name: fileName, text: tags.join(', '), split, style }));
    counts[style] ??= {};
    counts[style][split] = (counts[style][split] ?? 0) + 1;
  }
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
