using System.Buffers.Binary;
using System.IO.Compression;
using LoraNotebooks.Data;
using SkiaSharp;

namespace LoraNotebooks.Tests.Data;

/// <summary>Images as other programs and cameras write them, made byte by byte.</summary>
internal static class ForeignImage
{
    /// <summary>A JPEG of 8×8 pixels of one colour, of as many components as are given.</summary>
    /// <param name="colour">The stored bytes.</param>
    /// <param name="transform">Of Adobe's mark: 0 as it is, 2 YCCK; null: no mark.</param>
    /// <param name="table">The quantization table of each component.</param>
    public static byte[] Jpeg(byte[] colour, byte? transform = null, Func<int, int>? table = null)
    {
        table ??= static _ => 0;
        byte[] mark = transform is { } t ? [0xFF, 0xEE, 0, 14, .. "Adobe"u8, 0, 100, 0, 0, 0, 0, t] : [];
        byte[] tables = [.. Enumerable.Range(0, colour.Length)
            .Select(table).Distinct()
            .SelectMany(static id => (byte[])[0xFF, 0xDB, 0, 67, (byte)id, .. Enumerable.Repeat((byte)8, 64)])];
        byte[] frame = [0xFF, 0xC0, 0, (byte)(8 + (3 * colour.Length)), 8, 0, 8, 0, 8, (byte)colour.Length, .. colour.SelectMany((_, i) =>
            (byte[])[(byte)(i + 1), 0x11, (byte)table(i)])];

        // DC: twelve categories of four bits each; AC: nothing but the end of the block, one bit.
        byte[] codes =
        [
            0xFF, 0xC4, 0, 31, 0, 0, 0, 0, 12, .. new byte[12], .. Enumerable.Range(0, 12).Select(static i => (byte)i), 0xFF, 0xC4, 0, 20, 0x10, 1,
            .. new byte[15], 0
        ];
        byte[] scan =
        [
            0xFF, 0xDA, 0, (byte)(6 + (2 * colour.Length)), (byte)colour.Length, .. colour.SelectMany(static (_, i) => (byte[])[(byte)(i + 1), 0]), 0, 63, 0
        ];
        var bits = string.Concat(colour.Select(static value => Block(value - 128)));
        bits = bits.PadRight((bits.Length + 7) / 8 * 8, '1');
        var data = bits
            .Chunk(8)
            .SelectMany(static eight => Convert.ToByte(new string(eight), 2) is 0xFF ? (byte[])[0xFF, 0] : [Convert.ToByte(new string(eight), 2)]);
        return [0xFF, 0xD8, .. mark, .. tables, .. frame, .. codes, .. scan, .. data, 0xFF, 0xD9];

        static string Block(int value)
        {
            var size = value == 0 ? 0 : (int)Math.Log2(Math.Abs(value)) + 1;
            var magnitude = value > 0 ? value : value + (1 << size) - 1;
            return Convert.ToString(size, 2).PadLeft(4, '0') + (size == 0 ? "" : Convert.ToString(magnitude, 2).PadLeft(size, '0')) + "0";
        }
    }

    /// <summary>A PNG of any kind.</summary>
    /// <param name="width">Its width.</param>
    /// <param name="rows">The bytes of each row.</param>
    /// <param name="depth">Bits of a channel.</param>
    /// <param name="colourType">0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha.</param>
    /// <param name="chunks">What stands before the picture.</param>
    public static byte[] Png(int width, byte[][] rows, byte depth, byte colourType, params (string Type, byte[] Content)[] chunks)
    {
        using var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            foreach (var row in rows)
            {
                zlib.Write([0, .. row]);
            }
        }

        byte[] header = [.. Big(width), .. Big(rows.Length), depth, colourType, 0, 0, 0];
        return
        [
            0x89,
            .. "PNG\r\n"u8,
            0x1A,
            0x0A,
            .. Chunk("IHDR", header),
            .. chunks.SelectMany(static chunk => Chunk(chunk.Type, chunk.Content)),
            .. Chunk("IDAT", packed.ToArray()),
            .. Chunk("IEND", [])
        ];
    }

    /// <summary>EXIF that tells the orientation alone.</summary>
    public static byte[] Exif(byte orientation, bool isLittle) => isLittle
        ? [.. "II"u8, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]
        : [.. "MM"u8, 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];

    /// <summary>A WebP with EXIF.</summary>
    public static byte[] WebP(RgbImage image, byte[] exif) => Riff([.. Extended(0x08, image), .. Picture(image), .. RiffChunk("EXIF", exif)]);

    /// <summary>A WebP of several pictures.</summary>
    public static byte[] MovingWebP(params RgbImage[] images) =>
        Riff([
            .. Extended(0x02, images[0]),
            .. RiffChunk("ANIM", new byte[6]),
            .. images.SelectMany(static image => RiffChunk("ANMF", [.. new byte[6], .. Sizes(image), 100, 0, 0, 2, .. Picture(image)]))
        ]);

    /// <summary>A GIF of two pixels, one after the other: red, then blue.</summary>
    public static byte[] MovingGif { get; } =
    [
        .. "GIF89a"u8, 1, 0, 1, 0, 0x80, 0, 0, 255, 0, 0, 0, 0, 255,
        0x21, 0xF9, 4, 0, 10, 0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0,
        0x21, 0xF9, 4, 0, 10, 0, 0, 0, 0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4C, 1, 0,
        0x3B,
    ];

    private static byte[] Riff(byte[] content) => [.. "RIFF"u8, .. Little(content.Length + 4), .. "WEBP"u8, .. content];

    private static byte[] Extended(byte flags, RgbImage image) => RiffChunk("VP8X", [flags, 0, 0, 0, .. Sizes(image)]);

    private static byte[] Sizes(RgbImage image) => [.. Little(image.Width - 1)[..3], .. Little(image.Height - 1)[..3]];

    private static byte[] Picture(RgbImage image) => DatasetFolder.Encode(image, SKEncodedImageFormat.Webp)[12..];

    private static byte[] RiffChunk(string type, byte[] content) =>
        [.. type.Select(static c => (byte)c), .. Little(content.Length), .. content, .. new byte[content.Length % 2]];

    /// <summary>A part of a PNG with its checksum.</summary>
    public static byte[] Chunk(string type, byte[] content)
    {
        byte[] named = [.. type.Select(static c => (byte)c), .. content];
        var crc = uint.MaxValue;
        foreach (var value in named)
        {
            crc ^= value;
            for (var i = 0; i < 8; i++)
            {
                crc = (crc & 1) == 0 ? crc >> 1 : (crc >> 1) ^ 0xEDB88320;
            }
        }

        return [.. Big(content.Length), .. named, .. Big(unchecked((int)~crc))];
    }

    private static byte[] Big(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(bytes, value);
        return bytes;
    }

    private static byte[] Little(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return bytes;
    }
}
