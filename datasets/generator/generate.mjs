import { parseArgs } from 'node:util';
import { writeCorpus } from './corpus.mjs';
import { writeDatasets } from './datasets.mjs';

const USAGE = `Usage:
  node generate.mjs corpus --output DIR [--count-per-style 4500] [--count-per-held-out-style 500] [--seed 1]
      64 x 64 portraits with captions, for training the base model
  node generate.mjs datasets --output DIR [--seed 1]
      the sample datasets, 512 pixels and larger, for training LoRA`;

const [command, ...rest] = process.argv.slice(2);
const commands = { corpus, datasets };
if (!Object.hasOwn(commands, command ?? '')) {
  console.error(USAGE);
  process.exit(2);
}
commands[command](rest);

function corpus(args) {
  const options = read(args, {
    output: { type: 'string' },
    'count-per-style': { type: 'string', default: '4500' },
    'count-per-held-out-style': { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
  });
  const counts = writeCorpus({
    output: options.output,
    countPerStyle: wholeNumber(options['count-per-style']),
    countPerHeldOutStyle: wholeNumber(options['count-per-held-out-style']),
    seed: options.seed,
  });
  console.table(counts);
}

function datasets(args) {
  const options = read(args, {
    output: { type: 'string' },
    seed: { type: 'string', default: '1' },
  });
  console.table(writeDatasets(options));
}

function read(args, options) {
  try {
    const { values } = parseArgs({ args, options });
    if (!values.output) throw new Error('--output is missing.');
    return values;
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function wholeNumber(text) {
  if (!/^\d+$/.test(text)) {
    console.error(`'${text}' is not a whole number.`);
    process.exit(2);
  }
  return Number(text);
}
