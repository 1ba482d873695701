using System.Buffers.Binary;
using SkiaSharp;

namespace LoraNotebooks.Data;

/// <summary>What Skia does not tell of a PNG: the camera's orientation (eXIf), and that it is animated (acTL).</summary>
/// <remarks>Source: PNG specification, third edition, sections 11.3.4.5 and 11.3.5; Exif 2.3, section 4.6.4.</remarks>
internal static class PngChunks
{
    private const int OrientationTag = 0x0112;
    private const int EntryLength = 12;

    /// <summary>How the stored picture lies; upright where the file says nothing.</summary>
    public static SKEncodedOrigin Orientation(ReadOnlySpan<byte> png)
    {
        var exif = Chunk(png, "eXIf"u8);
        if (exif is not ([(byte)'I', (byte)'I', 42, 0, _, _, _, _, ..] or [(byte)'M', (byte)'M', 0, 42, _, _, _, _, ..]))
        {
            return SKEncodedOrigin.TopLeft;
        }

        var isLittle = exif[0] == 'I';
        var directory = (long)Number(exif[4..], 4, isLittle);
        if (directory + 2 + EntryLength > exif.Length)
        {
            return SKEncodedOrigin.TopLeft;
        }

        var count = (int)Number(exif[(int)directory..], 2, isLittle);
        for (var i = 0; i < count && directory + 2 + (EntryLength * (i + 1)) <= exif.Length; i++)
        {
            var entry = exif.Slice((int)directory + 2 + (EntryLength * i), EntryLength);
            if (Number(entry, 2, isLittle) == OrientationTag)
            {
                return Number(entry[8..], 2, isLittle) is >= 1 and <= 8 and var origin ? (SKEncodedOrigin)origin : SKEncodedOrigin.TopLeft;
            }
        }

        return SKEncodedOrigin.TopLeft;
    }

    /// <summary>The number of frames; 1 for a picture that does not move.</summary>
    public static int Frames(ReadOnlySpan<byte> png) =>
        Chunk(png, "acTL"u8) is { Length: >= 8 } animation ? (int)Math.Min(int.MaxValue, Number(animation, 4, false)) : 1;

    private static uint Number(ReadOnlySpan<byte> bytes, int length, bool isLittle) => (length, isLittle) switch
    {
        (2, true) => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
        (2, false) => BinaryPrimitives.ReadUInt16BigEndian(bytes),
        (_, true) => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
        _ => BinaryPrimitives.ReadUInt32BigEndian(bytes),
    };

    /// <summary>The content of the first chunk of a type; empty where there is none.</summary>
    private static ReadOnlySpan<byte> Chunk(ReadOnlySpan<byte> png, ReadOnlySpan<byte> type)
    {
        for (long at = 8; at + 12 <= png.Length;)
        {
            var length = BinaryPrimitives.ReadUInt32BigEndian(png[(int)at..]);
            if (at + 12 + length > png.Length)
            {
                break;
            }

            if (png.Slice((int)at + 4, 4).SequenceEqual(type))
            {
                return png.Slice((int)at + 8, (int)length);
            }

            at += 12 + length;
        }

        return [];
    }
}
