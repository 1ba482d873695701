using System.Runtime.InteropServices;
using SkiaSharp;

namespace LoraNotebooks.Data;

/// <summary>Between encoded images and bytes of red, green, blue.</summary>
internal static class ImageCodec
{
    /// <summary>The most pixels that are decoded. A header may lie; this bounds the memory it can ask for (1 GB with alpha).</summary>
    public const long MaxPixels = 1L << 28;

    public static readonly SKImageInfo Rgba = new(1, 1, SKColorType.Rgba8888, SKAlphaType.Opaque);

    /// <exception cref="InvalidDataException">The bytes are no whole image.</exception>
    public static RgbImage Decode(byte[] bytes, string name) =>
        CmykJpeg.IsPlain(bytes) ? CmykJpeg.Decode(bytes, changed => DecodeBySkia(changed, name)) : DecodeBySkia(bytes, name);

    /// <summary>How many pictures a file holds, of which the first is decoded.</summary>
    /// <exception cref="InvalidDataException">The bytes are no image.</exception>
    public static int Frames(byte[] bytes, string name)
    {
        using var codec = Open(bytes, name);
        return codec.EncodedFormat == SKEncodedImageFormat.Png ? PngChunks.Frames(bytes) : Math.Max(1, codec.FrameCount);
    }

    private static RgbImage DecodeBySkia(byte[] bytes, string name)
    {
        using var codec = Open(bytes, name);
        using var decoded = new SKBitmap(new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        var result = codec.GetPixels(decoded.Info, decoded.GetPixels());
        return result == SKCodecResult.Success
            ? FromBitmap(decoded, Origin(codec, bytes))
            : throw new InvalidDataException($"{name} is damaged or cut off ({result}). Copy it again or remove it.");
    }

    /// <summary>The size of the upright image, from its header.</summary>
    /// <exception cref="InvalidDataException">The bytes are no image.</exception>
    public static (int Width, int Height) Size(byte[] bytes, string name)
    {
        using var codec = Open(bytes, name);
        return IsTurned(Origin(codec, bytes)) ? (codec.Info.Height, codec.Info.Width) : (codec.Info.Width, codec.Info.Height);
    }

    public static byte[] EncodePng(RgbImage image)
    {
        using var bitmap = ToBitmap(image);
        using var pixmap = bitmap.PeekPixels();
        using var data = pixmap.Encode(new SKPngEncoderOptions(SKPngEncoderFilterFlags.AllFilters, zLibLevel: 6))
            ?? throw new InvalidOperationException($"The image of {image.Width}×{image.Height} could not be encoded as PNG.");
        return data.ToArray();
    }

    public static SKBitmap ToBitmap(RgbImage image)
    {
        var bitmap = new SKBitmap(Rgba.WithSize(image.Width, image.Height));
        var pixels = image.Pixels;
        var target = bitmap.GetPixelSpan();
        for (int i = 0, j = 0; i < pixels.Length; i += 3, j += 4)
        {
            pixels.Slice(i, 3).CopyTo(target[j..]);
            target[j + 3] = 255;
        }

        return bitmap;
    }

    /// <summary>The pixels of a bitmap, turned upright and laid on white.</summary>
    public static RgbImage FromBitmap(SKBitmap bitmap, SKEncodedOrigin origin = SKEncodedOrigin.TopLeft)
    {
        var (w, h) = (bitmap.Width, bitmap.Height);
        var (width, height) = IsTurned(origin) ? (h, w) : (w, h);

        // The stored pixel of the upright (x, y) is start + x·right + y·down.
        var (start, right, down) = origin switch
        {
            SKEncodedOrigin.TopRight => (w - 1, -1, w),
            SKEncodedOrigin.BottomRight => (w * h - 1, -1, -w),
            SKEncodedOrigin.BottomLeft => (w * (h - 1), 1, -w),
            SKEncodedOrigin.LeftTop => (0, w, 1),
            SKEncodedOrigin.RightTop => (w * (h - 1), -w, 1),
            SKEncodedOrigin.RightBottom => (w * h - 1, -w, -1),
            SKEncodedOrigin.LeftBottom => (w - 1, w, -1),
            _ => (0, 1, w),
        };
        var source = MemoryMarshal.Cast<byte, int>(bitmap.GetPixelSpan());
        var bytes = new byte[3L * width * height];
        var at = 0;
        for (var y = 0; y < height; y++)
        {
            for (var (x, from) = (0, start + y * down); x < width; x++, from += right)
            {
                var pixel = source[from];
                var alpha = (pixel >> 24) & 255;
                bytes[at++] = OnWhite(pixel & 255, alpha);
                bytes[at++] = OnWhite((pixel >> 8) & 255, alpha);
                bytes[at++] = OnWhite((pixel >> 16) & 255, alpha);
            }
        }

        return new RgbImage(width, height, bytes);
    }

    private static SKCodec Open(byte[] bytes, string name)
    {
        if (bytes.Length == 0)
        {
            throw new InvalidDataException($"{name} is empty (0 bytes). Copy it again or remove it.");
        }

        var codec = SKCodec.Create(new SKMemoryStream(bytes)) ?? throw new InvalidDataException(ImageFormats.OfContent(bytes) switch
        {
            { } format when ImageFormats.Extension(format) is not null =>
                $"{name} is damaged or cut off: it begins as {format}, but its header cannot be read. Copy it again or remove it.",
            { } format => $"{name} is a {format} file, which is not read. Convert it to PNG, JPEG, WebP or BMP.",
            null => $"{name} is not an image that can be read (PNG, JPEG, WebP, BMP, GIF). Convert it or remove it.",
        });
        if ((long)codec.Info.Width * codec.Info.Height <= MaxPixels)
        {
            return codec;
        }

        using (codec)
        {
            throw new InvalidDataException(
                $"{name} claims {codec.Info.Width}×{codec.Info.Height} pixels, expected at most {MaxPixels:N0}. Make it smaller or remove it.");
        }
    }

    private static SKEncodedOrigin Origin(SKCodec codec, byte[] bytes) =>
        codec.EncodedFormat == SKEncodedImageFormat.Png ? PngChunks.Orientation(bytes) : codec.EncodedOrigin;

    /// <summary>Whether the stored rows are the upright image's columns (EXIF orientations 5 to 8).</summary>
    private static bool IsTurned(SKEncodedOrigin origin) => origin >= SKEncodedOrigin.LeftTop;

    private static byte OnWhite(int value, int alpha) => (byte)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}
