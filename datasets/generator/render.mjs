import zlib from 'node:zlib';
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';

/** Draws a portrait and returns its RGB bytes, size x size. */
export function renderPortrait(style, options, size) {
  const svg = createAvatar(collection[style], { seed: 'portrait', ...options }).toString();
  const image = new Resvg(readableBySvgRenderer(svg), {
    fitTo: { mode: 'width', value: size },
    background: '#ffffff',
    font: { loadSystemFonts: false },
  }).render();
  return withoutAlpha(image.pixels);
}

/**
 * Two things that a browser or resvg draws differently from what is wanted here:
 * - resvg reads mask-type as an attribute but not in a style; without this, toonHead's mouths fade away;
 * - personas' overlay highlights come out as plain white, which turns dark skin and hair gray; here they are fainter.
 */
function readableBySvgRenderer(svg) {
  return svg
    .replace(/style="mask-type:\s*(alpha|luminance);?"/g, 'mask-type="$1"')
    .replace(/style="mix-blend-mode:overlay" opacity="\.(26|36)"/g, 'opacity=".1"');
}

function withoutAlpha(rgba) {
  const rgb = Buffer.alloc(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

/** Halves an RGB image: each pixel is the mean of a 2 x 2 block. */
export function halve(rgb, size) {
  const half = size / 2;
  const result = Buffer.alloc(half * half * 3);
  for (let y = 0; y < half; y++) {
    for (let x = 0; x < half; x++) {
      for (let channel = 0; channel < 3; channel++) {
        const at = (2 * y * size + 2 * x) * 3 + channel;
        const sum = rgb[at] + rgb[at + 3] + rgb[at + size * 3] + rgb[at + size * 3 + 3];
        result[(y * half + x) * 3 + channel] = (sum + 2) >> 2;
      }
    }
  }
  return result;
}

/** A width x height canvas of one colour with a square image on it. Parts outside the canvas are cut off. */
export function placeOnCanvas(rgb, size, width, height, left, top, hexColour) {
  const canvas = Buffer.alloc(width * height * 3, Buffer.from(hexColour, 'hex'));
  for (let y = Math.max(0, -top); y < Math.min(size, height - top); y++) {
    const from = Math.max(0, -left);
    const to = Math.min(size, width - left);
    rgb.copy(canvas, ((top + y) * width + left + from) * 3, (y * size + from) * 3, (y * size + to) * 3);
  }
  return canvas;
}

/** An 8-bit RGB PNG. Flat drawings compress best without row filters. */
export function encodePng(rgb, width, height) {
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y++) rgb.copy(rows, y * (1 + width * 3) + 1, y * width * 3, (y + 1) * width * 3);

  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8; // bits per channel
  header[9] = 2; // RGB
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk('IHDR', header),
    pngChunk('IDAT', zlib.deflateSync(rows, { level: 9 })),
    pngChunk('IEND', Buffer.alloc(0)),
  ]);
}

function pngChunk(type, data) {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, 'latin1');
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
