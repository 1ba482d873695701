/** One palette for all styles: a colour word always means the same colour. */

export const HAIR_COLOURS = {
  black: '1c1a1e',
  brown: '6a3f22',
  blonde: 'ecbc3e',
  red: 'c8401c',
  gray: '898c93',
  pink: 'ef6fa8',
  blue: '3f7be0',
  green: '3fa34d',
  purple: '8a4fc4',
  white: 'f1eee8',
};

const HAIR_COLOUR_WEIGHTS = {
  black: 2, brown: 2, blonde: 2, red: 1, gray: 1, pink: 1, blue: 1, green: 1, purple: 1, white: 1,
};

export const CLOTHING_COLOURS = {
  red: 'd6323a',
  blue: '3465d0',
  green: '2f9e57',
  yellow: 'f2c531',
  black: '26262b',
  white: 'f3f3f0',
  purple: '7d4cc0',
  pink: 'f283b5',
  orange: 'f28a2e',
};

/** Light skin is kept darker than in life, so that a face stands out from a pale background. */
export const SKIN_COLOURS = {
  light: ['f3c8a4', 'edbb92'],
  tan: ['c98a58', 'bd7d4b'],
  dark: ['7d4a2b', '643b22'],
};

export const BACKGROUND_COLOURS = {
  white: 'ffffff',
  blue: '8fc7ee',
  pink: 'f4a9bd',
  yellow: 'f9e58a',
  green: '9fdb9a',
  purple: 'bfa8ea',
  gray: 'b7bcc4',
  orange: 'f59b4c',
};

/** The colours of one portrait, by name. A background may be given. */
export function drawColours(random, background) {
  for (;;) {
    const colours = {
      hair: random.weighted(HAIR_COLOUR_WEIGHTS),
      clothing: random.pick(Object.keys(CLOTHING_COLOURS)),
      skin: random.weighted({ light: 2, tan: 1, dark: 1 }),
      skinShade: random.pick([0, 1]),
      background: background ?? random.pick(Object.keys(BACKGROUND_COLOURS)),
    };
    const hairVanishes = colours.hair === 'white' && colours.background === 'white';
    if (!hairVanishes) return colours;
  }
}
