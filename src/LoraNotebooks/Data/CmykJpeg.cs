using System.Buffers.Binary;

namespace LoraNotebooks.Data;

/// <summary>
/// JPEG in cyan, magenta, yellow, black without Adobe's mark, where 0 is no ink. Photoshop writes such files inverted and marks them, and Skia takes every
/// file of four colours as inverted: it gives C·K/255, M·K/255 and Y·K/255, of which the four cannot be told.
/// </summary>
/// <remarks>
/// So the file is decoded twice, with the quantization table of K, or of the other three, set to zeros: a component without coefficients is 128
/// everywhere, and the products give the others to within 1. Source: ITU-T T.81, annex B; libjpeg.txt, "Special color spaces".
/// </remarks>
internal static class CmykJpeg
{
    private const byte StartOfScan = 0xDA;
    private const byte QuantizationTables = 0xDB;
    private const byte Adobe = 0xEE;
    private const int Colours = 4;
    private const int TableLength = 64;
    private const int Flat = 128;

    /// <summary>Whether bytes are a JPEG of four colours without Adobe's mark.</summary>
    public static bool IsPlain(ReadOnlySpan<byte> bytes) =>
        bytes is [0xFF, 0xD8, ..] && Find(bytes) is { Frame: { } frame, IsMarked: false } && bytes[frame + 9] == Colours;

    /// <summary>The picture; see <see cref="ImageCodec.Decode"/>.</summary>
    /// <param name="bytes">For which <see cref="IsPlain"/> holds.</param>
    /// <param name="decode">Decodes a JPEG as Skia does.</param>
    public static RgbImage Decode(byte[] bytes, Func<byte[], RgbImage> decode)
    {
        var (inks, black) = (decode(WithFlat(bytes, static colour => colour == Colours - 1)), decode(WithFlat(bytes, static colour => colour < Colours - 1)));
        var pixels = new byte[inks.Pixels.Length];
        for (var i = 0; i < pixels.Length; i++)
        {
            var (ink, key) = (Scaled(inks.Pixels[i]), Scaled(black.Pixels[i]));
            pixels[i] = (byte)(((255 - ink) * (255 - key) + 127) / 255);
        }

        return new RgbImage(inks.Width, inks.Height, pixels);
    }

    private static int Scaled(int product) => Math.Min(255, ((product * 255) + (Flat / 2)) / Flat);

    /// <summary>The file with some components flat: a table of zeros is added, and the frame's header names it for them.</summary>
    private static byte[] WithFlat(byte[] bytes, Func<int, bool> isFlat)
    {
        var frame = Find(bytes).Frame!.Value;
        var tables = Enumerable.Range(0, Colours).Select(i => (int)bytes[frame + 12 + (3 * i)]).ToHashSet();
        var free = Enumerable.Range(0, Colours).FirstOrDefault(table => !tables.Contains(table), -1);
        if (free < 0)
        {
            // All are used: the table of a component that becomes flat is free, as nothing else uses it.
            free = bytes[frame + 12 + (3 * Enumerable.Range(0, Colours).First(isFlat))];
        }

        // After the frame's header, so that it also replaces a table that the file defines before.
        var end = frame + 2 + BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(frame + 2));
        var head = bytes[..end];
        for (var i = 0; i < Colours; i++)
        {
            head[frame + 12 + (3 * i)] = isFlat(i) ? (byte)free : head[frame + 12 + (3 * i)];
        }

        return [.. head, 0xFF, QuantizationTables, 0, TableLength + 3, (byte)free, .. new byte[TableLength], .. bytes[end..]];
    }

    /// <summary>Where a JPEG's frame header begins, with its marker, and whether Adobe's mark stands before the picture.</summary>
    private static (int? Frame, bool IsMarked) Find(ReadOnlySpan<byte> bytes)
    {
        int? frame = null;
        var isMarked = false;
        for (var at = 2; at + 4 <= bytes.Length && bytes[at] == 0xFF;)
        {
            var marker = bytes[at + 1];
            if (marker == 0xFF)
            {
                at++;
                continue;
            }

            // A length counts its own two bytes; one that does not is taken for these alone, as by libjpeg (jdmarker.c).
            var next = at + 2 + Math.Max((ushort)2, BinaryPrimitives.ReadUInt16BigEndian(bytes[(at + 2)..]));
            if (marker == StartOfScan || next > bytes.Length)
            {
                break;
            }

            // SOF0 to SOF15 without DHT, JPG and DAC: length, precision, height, width, components of three bytes each.
            if (marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC) && next - at >= 10 && next - at >= 10 + (3 * bytes[at + 9]))
            {
                frame = at;
            }

            isMarked |= marker == Adobe && bytes[(at + 4)..next].StartsWith("Adobe"u8);
            at = next;
        }

        return (frame, isMarked);
    }
}
