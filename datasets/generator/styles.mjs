import { BACKGROUND_COLOURS, CLOTHING_COLOURS, HAIR_COLOURS, SKIN_COLOURS } from './palette.mjs';

/**
 * For each style a function (random, colours, fixed) that draws one portrait:
 *   hairShape  the hair word, or 'bald'
 *   hairColour the colour word, or null where no hair colour shows
 *   skin       the skin word, or null in black and white designs
 *   tags       what can be seen in the picture at 64 pixels, without style, hair, skin and background
 *   options    what DiceBear needs to draw it; every "...Probability" is 0 or 100
 * Options that look alike at 64 pixels share a tag; options that cannot be told from others are not used.
 * `fixed` holds values that must not be drawn by chance.
 */

const numbered = (prefix, ...numbers) => numbers.map(n => prefix + String(n).padStart(2, '0'));
const variants = (...numbers) => numbered('variant', ...numbers);
const onOff = on => (on ? 100 : 0);
const skinHex = colours => SKIN_COLOURS[colours.skin][colours.skinShade];

// ---------------------------------------------------------------- styles of the base model

const ADVENTURER_HAIR = {
  'short hair': numbered('short', 1, 2, 4, 7, 8, 9, 10, 11, 14),
  'long hair': numbered('long', 4, 5, 6, 7, 9, 17),
  'bob cut': numbered('long', 1, 21, 26),
  'medium hair': numbered('long', 2, 24),
  'curly hair': ['short03', 'short17', 'short18', 'long22'],
  'spiky hair': ['short16'],
  'hair bun': ['long10', 'long11'],
  pigtails: ['long14', 'long15'],
  ponytail: ['long19'],
  braid: ['long16'],
  mohawk: ['short15'],
  bald: ['short19'],
};

const ADVENTURER_HAIR_WEIGHTS = {
  'short hair': 4, 'long hair': 4, 'bob cut': 2, 'medium hair': 1.5, 'curly hair': 2.5, 'spiky hair': 1.2,
  'hair bun': 1.5, pigtails: 1.5, ponytail: 1.2, braid: 1.2, mohawk: 1.2, bald: 1.2,
};

const ADVENTURER_CALM_BROWS = variants(5, 10, 13, 15);
const ADVENTURER_OPEN_EYES = variants(1, 2, 3, 5, 9, 12, 24, 25, 26);

const ADVENTURER_EXPRESSIONS = {
  smile: { mouth: variants(22, 23), eyebrows: ADVENTURER_CALM_BROWS },
  'big smile': { mouth: variants(1, 5, 25, 26), eyebrows: ADVENTURER_CALM_BROWS },
  'open mouth': { mouth: variants(15, 27, 28, 30), eyebrows: ADVENTURER_CALM_BROWS },
  'neutral face': { mouth: variants(4, 9, 19), eyebrows: ADVENTURER_CALM_BROWS },
  frown: { mouth: variants(14), eyebrows: variants(6, 7), eyes: variants(15) },
  angry: { mouth: variants(9, 11, 14), eyebrows: variants(1, 2) },
};

const ADVENTURER_EYEWEAR = { glasses: variants(2, 4), sunglasses: variants(1) };
const ADVENTURER_CLOSED_EYES = { 'closed eyes': variants(19, 20), wink: variants(21, 22) };

export function adventurer(random, colours, fixed = {}) {
  const hairShape = fixed.hairShape ?? random.weighted(ADVENTURER_HAIR_WEIGHTS);
  const expression = fixed.expression ?? random.pick(Object.keys(ADVENTURER_EXPRESSIONS));
  const face = ADVENTURER_EXPRESSIONS[expression];
  const eyewear = fixed.eyewear ?? random.weighted({ none: 62, glasses: 30, sunglasses: 8 });
  const plainEyes = face.eyes !== undefined || expression === 'angry' || eyewear === 'sunglasses';
  const eyes = fixed.eyes ?? (plainEyes ? 'open' : random.weighted({ open: 80, 'closed eyes': 10, wink: 10 }));
  const feature = fixed.feature ?? random.weighted({ none: 78, blush: 16, mustache: 6 });

  return {
    hairShape,
    hairColour: hairShape === 'bald' ? null : colours.hair,
    skin: colours.skin,
    tags: [expression, eyewear, eyes, feature].filter(tag => tag !== 'none' && tag !== 'open'),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [fixed.hair ?? random.pick(ADVENTURER_HAIR[hairShape])],
      hairColor: [HAIR_COLOURS[colours.hair]],
      hairProbability: 100,
      skinColor: [skinHex(colours)],
      mouth: [random.pick(face.mouth)],
      eyebrows: [random.pick(face.eyebrows)],
      eyes: [random.pick(eyes === 'open' ? face.eyes ?? ADVENTURER_OPEN_EYES : ADVENTURER_CLOSED_EYES[eyes])],
      glasses: [fixed.glasses ?? random.pick(ADVENTURER_EYEWEAR[eyewear] ?? ADVENTURER_EYEWEAR.glasses)],
      glassesProbability: onOff(eyewear !== 'none'),
      features: [feature === 'none' ? 'blush' : feature],
      featuresProbability: onOff(feature !== 'none'),
      earringsProbability: 0,
    },
  };
}

const PERSONAS_HAIR = {
  'short hair': ['shortCombover', 'shortComboverChops', 'fade'],
  'long hair': ['long', 'extraLong'],
  'bob cut': ['bobCut', 'bobBangs'],
  'curly hair': ['curly', 'curlyHighTop'],
  'hair bun': ['curlyBun', 'straightBun', 'bunUndercut'],
  pigtails: ['pigtails'],
  mohawk: ['mohawk'],
  'buzz cut': ['buzzcut'],
  bald: ['bald'],
};

const PERSONAS_HAIR_WEIGHTS = {
  'short hair': 4, 'long hair': 3, 'bob cut': 3, 'curly hair': 3, 'hair bun': 2.5,
  pigtails: 2, mohawk: 1.5, 'buzz cut': 1, bald: 1,
};

const PERSONAS_MOUTHS = { smile: 'smile', 'big smile': 'bigSmile', 'open mouth': 'surprise', frown: 'frown' };

const PERSONAS_EYES = {
  open: ['open'], glasses: ['glasses'], sunglasses: ['sunglasses'], wink: ['wink'], 'closed eyes': ['sleep', 'happy'],
};

export function personas(random, colours) {
  const hairShape = random.weighted(PERSONAS_HAIR_WEIGHTS);
  const beardShows = colours.hair !== 'white'; // its mouth is white too
  const facialHair = random.weighted({ none: 80, beard: beardShows ? 10 : 0, mustache: 10 });
  const expression = facialHair === 'beard' ? 'big smile' : random.pick(Object.keys(PERSONAS_MOUTHS));
  const eyes = random.weighted({ open: 40, glasses: 30, sunglasses: 8, wink: 8, 'closed eyes': 14 });
  const checkered = random.chance(0.25);
  const facialHairShapes = { beard: ['beardMustache'], mustache: ['walrus', 'pyramid'], none: ['goatee'] };
  const tags = [expression, eyes === 'open' ? null : eyes, facialHair === 'none' ? null : facialHair,
    `${colours.clothing} shirt`, checkered ? 'checkered' : null];

  return {
    hairShape,
    hairColour: hairShape === 'bald' || hairShape === 'buzz cut' ? null : colours.hair,
    skin: colours.skin,
    tags: tags.filter(tag => tag !== null),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(PERSONAS_HAIR[hairShape])],
      hairColor: [HAIR_COLOURS[colours.hair]],
      skinColor: [skinHex(colours)],
      clothingColor: [CLOTHING_COLOURS[colours.clothing]],
      body: [checkered ? 'checkered' : random.pick(['squared', 'rounded'])],
      eyes: [random.pick(PERSONAS_EYES[eyes])],
      mouth: [PERSONAS_MOUTHS[expression]],
      nose: [random.pick(['mediumRound', 'smallRound'])],
      facialHair: [random.pick(facialHairShapes[facialHair])],
      facialHairProbability: onOff(facialHair !== 'none'),
    },
  };
}

const TOON_HAIR = {
  'short hair': { front: ['sideComed', 'undercut'] },
  'spiky hair': { front: ['spiky'] },
  'hair bun': { front: ['bun'] },
  'long hair': { front: ['sideComed'], rear: ['longStraight', 'longWavy'] },
  'medium hair': { front: ['sideComed'], rear: ['shoulderHigh'] },
  'bob cut': { front: ['sideComed'], rear: ['neckHigh'] },
};

const TOON_HAIR_WEIGHTS = {
  'short hair': 4, 'spiky hair': 2.5, 'hair bun': 2.5, 'long hair': 4, 'medium hair': 2, 'bob cut': 2,
};

const TOON_EXPRESSIONS = {
  smile: { mouth: 'smile', eyebrows: ['raised', 'happy', 'neutral'] },
  'big smile': { mouth: 'laugh', eyebrows: ['raised', 'happy', 'neutral'] },
  'open mouth': { mouth: 'agape', eyebrows: ['raised', 'neutral'] },
  angry: { mouth: 'angry', eyebrows: ['angry'] },
};

const TOON_CLOTHES = {
  shirt: ['shirt', 'tShirt'], turtleneck: ['turtleNeck'], jacket: ['openJacket'], dress: ['dress'],
};

const TOON_EYES = { open: ['happy', 'wide'], wink: ['wink'], 'closed eyes': ['bow', 'humble'] };

export function toonHead(random, colours) {
  const hairShape = random.weighted(TOON_HAIR_WEIGHTS);
  const hair = TOON_HAIR[hairShape];
  const bearded = ['short hair', 'spiky hair'].includes(hairShape);
  const facialHair = bearded ? random.weighted({ none: 60, beard: 25, mustache: 15 }) : 'none';
  const expression = facialHair === 'none'
    ? random.pick(Object.keys(TOON_EXPRESSIONS))
    : random.pick(['big smile', 'open mouth']);
  const face = TOON_EXPRESSIONS[expression];
  const eyes = expression === 'angry' ? 'open' : random.weighted({ open: 70, wink: 12, 'closed eyes': 18 });
  const clothes = random.weighted({ shirt: 4, turtleneck: 2, jacket: 2, dress: 2 });
  const facialHairShapes = { beard: ['fullBeard', 'longBeard'], mustache: ['moustacheTwirl'], none: ['chin'] };
  const tags = [expression, eyes === 'open' ? null : eyes, facialHair === 'none' ? null : facialHair,
    `${colours.clothing} ${clothes}`];

  return {
    hairShape,
    hairColour: colours.hair,
    skin: colours.skin,
    tags: tags.filter(tag => tag !== null),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(hair.front)],
      hairProbability: 100,
      hairColor: [HAIR_COLOURS[colours.hair]],
      rearHair: [random.pick(hair.rear ?? ['longStraight'])],
      rearHairProbability: onOff(hair.rear !== undefined),
      skinColor: [skinHex(colours)],
      clothes: [random.pick(TOON_CLOTHES[clothes])],
      clothesColor: [CLOTHING_COLOURS[colours.clothing]],
      eyes: [random.pick(TOON_EYES[eyes])],
      mouth: [face.mouth],
      eyebrows: [random.pick(face.eyebrows)],
      beard: [random.pick(facialHairShapes[facialHair])],
      beardProbability: onOff(facialHair !== 'none'),
    },
  };
}

const MICAH_HAIR = {
  'short hair': 'fonze', 'long hair': 'full', 'medium hair': 'dannyPhantom', 'bob cut': 'pixie', mohawk: 'mrT', bald: 'mrClean',
};

const MICAH_HAIR_WEIGHTS = {
  'short hair': 2.5, 'long hair': 2.5, 'medium hair': 2, 'bob cut': 2.5, mohawk: 1.5, bald: 1,
};

const MICAH_MOUTHS = {
  smile: ['smile'], 'big smile': ['laughing'], 'open mouth': ['surprised'], frown: ['frown', 'sad'],
};

export function micah(random, colours) {
  const hairShape = random.weighted(MICAH_HAIR_WEIGHTS);
  const beard = ['short hair', 'mohawk', 'bald'].includes(hairShape) && random.chance(0.2);
  const expression = random.pick(beard ? ['big smile', 'open mouth'] : Object.keys(MICAH_MOUTHS));
  const glasses = random.chance(0.32);
  const closedEyes = !glasses && random.chance(0.2);
  const earrings = random.chance(0.2);
  const tags = [expression, glasses ? 'glasses' : null, closedEyes ? 'closed eyes' : null,
    beard ? 'beard' : null, earrings ? 'earrings' : null, `${colours.clothing} shirt`];

  return {
    hairShape,
    hairColour: hairShape === 'bald' ? null : colours.hair,
    skin: colours.skin,
    tags: tags.filter(tag => tag !== null),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [MICAH_HAIR[hairShape]],
      hairProbability: 100,
      hairColor: [HAIR_COLOURS[colours.hair]],
      baseColor: [skinHex(colours)],
      shirt: [random.pick(['open', 'crew', 'collared'])],
      shirtColor: [CLOTHING_COLOURS[colours.clothing]],
      mouth: [random.pick(MICAH_MOUTHS[expression])],
      mouthColor: ['000000'],
      eyes: [closedEyes ? 'smiling' : random.pick(['eyes', 'round'])],
      eyesColor: ['000000'],
      eyebrows: [random.pick(['up', 'down'])],
      eyebrowsColor: ['000000'],
      nose: [random.pick(['curve', 'pointed'])],
      ears: ['attached'],
      glasses: [random.pick(['round', 'square'])],
      glassesColor: ['000000'],
      glassesProbability: onOff(glasses),
      facialHair: ['beard'],
      facialHairColor: ['222222'],
      facialHairProbability: onOff(beard),
      earrings: ['hoop'],
      earringColor: ['f4d150'],
      earringsProbability: onOff(earrings),
    },
  };
}

/** Heads whose hair takes a colour, and heads whose hair the design draws in black. */
const PEEPS_COLOURED_HAIR = {
  'short hair': ['short4', 'grayShort'], 'medium hair': ['bangs', 'grayMedium'], 'hair bun': ['grayBun'],
  'curly hair': ['mediumBangs2'], mohawk: ['mohawk'],
};

const PEEPS_BLACK_HAIR = {
  'short hair': ['pomp', 'short1', 'short2', 'short3', 'short5'], 'long hair': ['long', 'longBangs', 'mediumStraight'],
  'medium hair': ['medium2', 'medium3'], 'bob cut': ['bangs2', 'medium1'], 'curly hair': ['longCurly'],
  'hair bun': ['bun2'], 'twin buns': ['buns'], 'flat top': ['flatTop', 'flatTopLong'], afro: ['afro', 'longAfro'],
};

const PEEPS_FACES = {
  smile: { open: ['smile'], closed: ['calm', 'cute'] },
  'big smile': { open: ['smileBig', 'smileTeethGap', 'smileLOL'] },
  'open mouth': { open: ['explaining', 'concerned'] },
  frown: { open: ['solemn'] },
  angry: { open: ['driven', 'angryWithFang', 'veryAngry'] },
};

const PEEPS_EYEWEAR = { glasses: ['glasses2', 'glasses3', 'glasses5'], sunglasses: ['sunglasses', 'sunglasses2'] };

export function openPeeps(random, colours) {
  const group = random.weighted({ coloured: 65, black: 30, bald: 5 });
  const hair = { coloured: PEEPS_COLOURED_HAIR, black: PEEPS_BLACK_HAIR, bald: { bald: ['noHair1'] } }[group];
  const hairShape = random.pick(Object.keys(hair));
  const facialHair = ['short hair', 'mohawk', 'bald', 'flat top', 'afro'].includes(hairShape)
    ? random.weighted({ none: 70, beard: 18, mustache: 12 })
    : 'none';
  const expression = random.pick(facialHair === 'none' ? Object.keys(PEEPS_FACES) : ['big smile', 'angry']);
  const eyewear = random.weighted({ none: 62, glasses: 30, sunglasses: 8 });
  const closedEyes = expression === 'smile' && eyewear !== 'sunglasses' && random.chance(0.5);
  const facialHairShapes = { beard: ['full', 'full3'], mustache: ['moustache3', 'moustache5'], none: ['full'] };
  const tags = [expression, eyewear === 'none' ? null : eyewear, closedEyes ? 'closed eyes' : null,
    facialHair === 'none' ? null : facialHair, `${colours.clothing} shirt`];

  return {
    hairShape,
    hairColour: { coloured: colours.hair, black: 'black', bald: null }[group],
    skin: colours.skin,
    tags: tags.filter(tag => tag !== null),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      head: [random.pick(hair[hairShape])],
      headContrastColor: [HAIR_COLOURS[colours.hair]],
      skinColor: [skinHex(colours)],
      clothingColor: [CLOTHING_COLOURS[colours.clothing]],
      face: [random.pick(PEEPS_FACES[expression][closedEyes ? 'closed' : 'open'])],
      accessories: [random.pick(PEEPS_EYEWEAR[eyewear] ?? PEEPS_EYEWEAR.glasses)],
      accessoriesProbability: onOff(eyewear !== 'none'),
      facialHair: [random.pick(facialHairShapes[facialHair])],
      facialHairProbability: onOff(facialHair !== 'none'),
      maskProbability: 0,
    },
  };
}

// ---------------------------------------------------------------- styles held out for LoRA

const DYLAN_HAIR = {
  'short hair': ['plain', 'wavy', 'parting'], 'long hair': ['roundBob', 'shaggy'], 'bob cut': ['bangs'],
  'medium hair': ['fluffy'], 'curly hair': ['shortCurls', 'longCurls'], 'spiky hair': ['spiky'], 'flat top': ['flatTop'],
};

const DYLAN_MOODS = {
  smile: 'happy', 'big smile': 'superHappy', 'neutral face': 'neutral', frown: 'sad', angry: 'angry',
};

export function dylan(random, colours, fixed = {}) {
  const hairShape = fixed.hairShape ?? random.pick(Object.keys(DYLAN_HAIR));
  const expression = fixed.expression ?? random.pick(Object.keys(DYLAN_MOODS));
  return {
    hairShape,
    hairColour: colours.hair,
    skin: colours.skin,
    tags: [expression],
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(DYLAN_HAIR[hairShape])],
      hairColor: [HAIR_COLOURS[colours.hair]],
      skinColor: [skinHex(colours)],
      mood: [DYLAN_MOODS[expression]],
      facialHairProbability: 0,
    },
  };
}

const LORELEI_HAIR = {
  'short hair': variants(1, 2, 3, 4, 7, 8, 12, 47), 'long hair': variants(15, 16, 21, 40), 'medium hair': variants(13, 17, 23, 42),
  'bob cut': variants(19), 'curly hair': variants(5, 18, 24, 35), 'hair bun': variants(14, 38, 45, 46), 'twin buns': variants(26),
  ponytail: variants(31, 33), mohawk: variants(27),
};

const LORELEI_MOUTHS = {
  smile: ['happy01', 'happy02', 'happy04'], 'big smile': ['happy05', 'happy06', 'happy16'], 'open mouth': ['sad01', 'happy18'],
  frown: ['sad04', 'sad05'],
};

const LORELEI_EYES = { open: variants(4, 6, 10, 14, 21, 23, 24), 'closed eyes': variants(3, 19, 22) };
const LORELEI_EYEWEAR = { glasses: variants(1, 3, 4), sunglasses: variants(2) };

export function lorelei(random, colours, fixed = {}) {
  const hairShape = fixed.hairShape ?? random.pick(Object.keys(LORELEI_HAIR));
  const expression = fixed.expression ?? random.pick(Object.keys(LORELEI_MOUTHS));
  const eyewear = random.weighted({ none: 62, glasses: 30, sunglasses: 8 });
  const eyes = eyewear === 'none' ? random.weighted({ open: 80, 'closed eyes': 20 }) : 'open';
  return {
    hairShape,
    hairColour: 'black',
    skin: null,
    tags: [expression, eyewear, eyes].filter(tag => tag !== 'none' && tag !== 'open'),
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(LORELEI_HAIR[hairShape])],
      mouth: [random.pick(LORELEI_MOUTHS[expression])],
      eyes: [random.pick(LORELEI_EYES[eyes])],
      eyebrows: [random.pick(variants(1, 4, 7, 10))],
      nose: [random.pick(variants(1, 2, 3, 4, 5, 6))],
      head: [random.pick(variants(1, 2, 3, 4))],
      glasses: [random.pick(LORELEI_EYEWEAR[eyewear] ?? LORELEI_EYEWEAR.glasses)],
      glassesProbability: onOff(eyewear !== 'none'),
      beardProbability: 0,
      hairAccessoriesProbability: 0,
      frecklesProbability: 0,
      earringsProbability: 0,
    },
  };
}

const PIXEL_ART_HAIR = {
  'short hair': numbered('short', 1, 2, 3, 4, 6, 8, 9, 10, 14, 15, 16, 17, 22),
  'long hair': numbered('long', 1, 3, 7, 8, 9, 12, 13),
  'medium hair': numbered('long', 4, 17, 21),
  'curly hair': ['short11', 'short13', 'long15'],
  mohawk: ['short05'],
};

const PIXEL_ART_MOUTHS = {
  smile: numbered('happy', 7, 8, 9, 10, 11), 'open mouth': numbered('happy', 1), 'neutral face': numbered('sad', 4, 5, 6),
  frown: numbered('sad', 1, 3, 10),
};

const PIXEL_ART_EYEWEAR = { glasses: numbered('light', 1, 2, 5, 6, 7), sunglasses: numbered('dark', 1, 2, 3, 5, 6) };

export function pixelArt(random, colours, fixed = {}) {
  const hairShape = fixed.hairShape ?? random.pick(Object.keys(PIXEL_ART_HAIR));
  const expression = fixed.expression ?? random.pick(Object.keys(PIXEL_ART_MOUTHS));
  const eyewear = random.weighted({ none: 65, glasses: 27, sunglasses: 8 });
  const checkered = random.chance(0.2);
  return {
    hairShape,
    hairColour: colours.hair,
    skin: colours.skin,
    tags: [expression, ...(eyewear === 'none' ? [] : [eyewear]), `${colours.clothing} shirt`, ...(checkered ? ['checkered'] : [])],
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(PIXEL_ART_HAIR[hairShape])],
      hairColor: [HAIR_COLOURS[colours.hair]],
      skinColor: [skinHex(colours)],
      clothing: [checkered ? 'variant06' : random.pick(variants(1, 3, 4, 5, 8, 11, 12, 23))],
      clothingColor: [CLOTHING_COLOURS[colours.clothing]],
      eyes: [random.pick(variants(1, 6, 7, 8, 9, 11))],
      mouth: [random.pick(PIXEL_ART_MOUTHS[expression])],
      mouthColor: ['c2504f'],
      glasses: [random.pick(PIXEL_ART_EYEWEAR[eyewear] ?? PIXEL_ART_EYEWEAR.glasses)],
      glassesProbability: onOff(eyewear !== 'none'),
      hatProbability: 0,
      beardProbability: 0,
      accessoriesProbability: 0,
    },
  };
}

const BIG_SMILE_HAIR = {
  'short hair': ['shortHair', 'bowlCutHair', 'shavedHead'], 'long hair': ['straightHair', 'bangs'], 'medium hair': ['wavyBob'],
  'curly hair': ['curlyBob', 'curlyShortHair'], 'hair bun': ['bunHair', 'froBun'], braid: ['braids'], mohawk: ['mohawk'],
};

const BIG_SMILE_MOUTHS = {
  'big smile': ['openedSmile', 'teethSmile'], 'neutral face': ['unimpressed'], frown: ['openSad'],
};

export function bigSmile(random, colours) {
  const hairShape = random.pick(Object.keys(BIG_SMILE_HAIR));
  const expression = random.pick(Object.keys(BIG_SMILE_MOUTHS));
  const eyewear = random.weighted({ none: 62, glasses: 30, sunglasses: 8 });
  return {
    hairShape,
    hairColour: colours.hair,
    skin: colours.skin,
    tags: [expression, ...(eyewear === 'none' ? [] : [eyewear])],
    options: {
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      hair: [random.pick(BIG_SMILE_HAIR[hairShape])],
      hairColor: [HAIR_COLOURS[colours.hair]],
      skinColor: [skinHex(colours)],
      mouth: [random.pick(BIG_SMILE_MOUTHS[expression])],
      eyes: [random.pick(['cheery', 'normal'])],
      accessories: [eyewear === 'none' ? 'glasses' : eyewear],
      accessoriesProbability: onOff(eyewear !== 'none'),
    },
  };
}

/** Black and white figures: everything but glasses and background is left to the seed of the design. */
export function notionists(random, colours) {
  const glasses = random.chance(0.3);
  return {
    hairShape: null,
    hairColour: 'black',
    skin: null,
    tags: glasses ? ['glasses'] : [],
    options: {
      seed: String(Math.floor(random.next() * 1e9)),
      backgroundColor: [BACKGROUND_COLOURS[colours.background]],
      glassesProbability: onOff(glasses),
      beardProbability: 0,
      gestureProbability: 0,
      bodyIconProbability: 0,
    },
  };
}

// ---------------------------------------------------------------- the list

export const BASE_STYLES = {
  adventurer: { tag: 'adventurer style', portrait: adventurer },
  personas: { tag: 'personas style', portrait: personas },
  toonHead: { tag: 'toon style', portrait: toonHead },
  micah: { tag: 'micah style', portrait: micah },
  openPeeps: { tag: 'peeps style', portrait: openPeeps },
};

export const HELD_OUT_STYLES = {
  dylan: { tag: 'dylan style', portrait: dylan },
  lorelei: { tag: 'lorelei style', portrait: lorelei },
  notionists: { tag: 'notionists style', portrait: notionists },
  bigSmile: { tag: 'big smile style', portrait: bigSmile },
  pixelArt: { tag: 'pixel art style', portrait: pixelArt },
};

/** The tags of a portrait in caption order, without the style. */
export function captionTags(portrait, colours) {
  const { hairShape, hairColour, skin, tags } = portrait;
  return [
    ...(hairShape === null ? [] : [hairShape]),
    ...(hairColour === null ? [] : [`${hairColour} hair`]),
    ...(skin === null ? [] : [`${skin} skin`]),
    ...tags,
    `${colours.background} background`,
  ];
}
