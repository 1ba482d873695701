using System.Runtime.InteropServices;
using LoraNotebooks.Formats;
using SkiaSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Data;

/// <summary>A picture in memory: rows of red, green, blue bytes. It never changes once made.</summary>
public sealed class RgbImage
{
    private static readonly SKImageInfo Rgba = new(1, 1, SKColorType.Rgba8888, SKAlphaType.Opaque);
    private readonly byte[] pixels;

    /// <param name="width">Width in pixels, 1 or more.</param>
    /// <param name="height">Height in pixels, 1 or more.</param>
    /// <param name="pixels">width × height × 3 bytes, row by row, red first; the image takes them over.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        if (width < 1 || height < 1 || pixels.Length != 3L * width * height)
        {
            throw new ArgumentException($"An image of {width}×{height} needs {3L * width * height} bytes, got {pixels.Length}. Give width × height × 3 bytes.");
        }

        (Width, Height, this.pixels) = (width, height, pixels);
    }

    /// <summary>Width in pixels.</summary>
    public int Width { get; }

    /// <summary>Height in pixels.</summary>
    public int Height { get; }

    /// <summary>The bytes, row by row, red, green, blue.</summary>
    public ReadOnlySpan<byte> Pixels => pixels;

    /// <summary>The colour of one pixel.</summary>
    public (byte Red, byte Green, byte Blue) this[int x, int y]
    {
        get
        {
            var at = 3 * (y * Width + x);
            return (pixels[at], pixels[at + 1], pixels[at + 2]);
        }
    }

    /// <summary>Reads a PNG, JPEG, WebP, BMP or GIF; transparent parts lie on white, the camera's orientation is applied.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is empty, truncated or no image.</exception>
    public static RgbImage Load(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"There is no image at {path}.", path);
        }

        return Decode(File.ReadAllBytes(path), path);
    }

    /// <summary>Reads an image from memory; see <see cref="Load"/>.</summary>
    /// <param name="bytes">The encoded image.</param>
    /// <param name="name">What to call it in an error.</param>
    public static RgbImage Decode(byte[] bytes, string name = "image")
    {
        ArgumentNullException.ThrowIfNull(bytes);
        if (bytes.Length == 0)
        {
            throw new InvalidDataException($"{name} is empty (0 bytes). Copy it again or remove it.");
        }

        using var codec = SKCodec.Create(new SKMemoryStream(bytes))
            ?? throw new InvalidDataException($"{name} is not an image that can be read (PNG, JPEG, WebP, BMP, GIF). Convert it or remove it.");
        using var decoded = new SKBitmap(new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
        var result = codec.GetPixels(decoded.Info, decoded.GetPixels());
        if (result != SKCodecResult.Success)
        {
            throw new InvalidDataException($"{name} is damaged or cut off ({result}). Copy it again or remove it.");
        }

        return FromBitmap(decoded, codec.EncodedOrigin);
    }

    /// <summary>Makes an image from a tensor.</summary>
    /// <param name="tensor">[3, H, W] with values in [-1, 1]; values outside are clamped.</param>
    public static RgbImage FromTensor(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.dim() != 3 || tensor.shape[0] != 3)
        {
            throw new ArgumentException($"An image tensor has the shape [3, H, W], got [{string.Join(", ", tensor.shape)}].", nameof(tensor));
        }

        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var bytes = tensor.detach().cpu().to(ScalarType.Float32).clamp(-1, 1).add(1).mul(127.5).round().to(ScalarType.Byte).permute(1, 2, 0).contiguous();
        return new RgbImage((int)tensor.shape[2], (int)tensor.shape[1], bytes.data<byte>().ToArray());
    }

    /// <summary>The image as float32 [3, H, W] in [-1, 1].</summary>
    public Tensor ToTensor()
    {
        using var scope = NewDisposeScope();
        return tensor(pixels, [Height, Width, 3]).permute(2, 0, 1).to(ScalarType.Float32).div_(127.5).sub_(1).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>Several images of one size as float32 [N, 3, H, W] in [-1, 1].</summary>
    public static Tensor ToTensor(IReadOnlyList<RgbImage> images)
    {
        using var scope = NewDisposeScope();
        return stack(images.Select(static image => image.ToTensor())).MoveToOuterDisposeScope();
    }

    /// <summary>The image as PNG; the same pixels always give the same bytes.</summary>
    public byte[] EncodePng()
    {
        using var bitmap = ToBitmap();
        using var pixmap = bitmap.PeekPixels()!;
        using var data = pixmap.Encode(new SKPngEncoderOptions(SKPngEncoderFilterFlags.AllFilters, zLibLevel: 6))!;
        return data.ToArray();
    }

    /// <summary>Writes a PNG; the file is replaced whole or not at all.</summary>
    public void SavePng(string path) => AtomicFile.WriteAllBytes(path, EncodePng());

    /// <summary>
    /// The image in another size. Shrinking averages the area that a new pixel covers, so that thin lines keep their weight; enlarging is bicubic (Mitchell).
    /// </summary>
    /// <param name="width">The new width, 1 or more.</param>
    /// <param name="height">The new height, 1 or more.</param>
    public RgbImage Resize(int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        if (width == Width && height == Height)
        {
            return this;
        }

        if (width <= Width && height <= Height)
        {
            return new RgbImage(width, height, AreaAverage(width, height));
        }

        using var bitmap = ToBitmap();
        using var resized = bitmap.Resize(Rgba.WithSize(width, height), new SKSamplingOptions(SKCubicResampler.Mitchell));
        return FromBitmap(resized, SKEncodedOrigin.TopLeft);
    }

    /// <summary>A part of the image.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The part lies outside.</exception>
    public RgbImage Crop(int x, int y, int width, int height)
    {
        if (x < 0 || y < 0 || width < 1 || height < 1 || x + width > Width || y + height > Height)
        {
            throw new ArgumentOutOfRangeException(nameof(x), $"The crop x {x}, y {y}, {width}×{height} lies outside the image of {Width}×{Height}.");
        }

        var part = new byte[3 * width * height];
        for (var row = 0; row < height; row++)
        {
            pixels.AsSpan(3 * ((y + row) * Width + x), 3 * width).CopyTo(part.AsSpan(3 * row * width));
        }

        return new RgbImage(width, height, part);
    }

    /// <summary>The image seen in a mirror: left and right change places.</summary>
    public RgbImage Mirror()
    {
        var mirrored = new byte[pixels.Length];
        for (var y = 0; y < Height; y++)
        {
            for (var x = 0; x < Width; x++)
            {
                pixels.AsSpan(3 * (y * Width + x), 3).CopyTo(mirrored.AsSpan(3 * (y * Width + Width - 1 - x)));
            }
        }

        return new RgbImage(Width, Height, mirrored);
    }

    /// <summary>Separable box filter: each new pixel is the mean of the area it covers, edges counted by their share.</summary>
    private byte[] AreaAverage(int width, int height)
    {
        var columns = new float[Height * width * 3];
        var (stepX, stepY) = ((double)Width / width, (double)Height / height);
        for (var x = 0; x < width; x++)
        {
            foreach (var (source, share) in Covered(x * stepX, (x + 1) * stepX, Width))
            {
                for (var y = 0; y < Height; y++)
                {
                    for (var c = 0; c < 3; c++)
                    {
                        columns[3 * (y * width + x) + c] += share * pixels[3 * (y * Width + source) + c];
                    }
                }
            }
        }

        var result = new byte[3 * width * height];
        var row = new float[3 * width];
        for (var y = 0; y < height; y++)
        {
            Array.Clear(row);
            foreach (var (source, share) in Covered(y * stepY, (y + 1) * stepY, Height))
            {
                for (var i = 0; i < row.Length; i++)
                {
                    row[i] += share * columns[3 * source * width + i];
                }
            }

            for (var i = 0; i < row.Length; i++)
            {
                result[3 * y * width + i] = (byte)Math.Clamp((int)MathF.Round(row[i]), 0, 255);
            }
        }

        return result;
    }

    private static IEnumerable<(int Source, float Share)> Covered(double from, double to, int limit)
    {
        for (var i = (int)from; i < Math.Min(limit, (int)Math.Ceiling(to - 1e-9)); i++)
        {
            yield return (i, (float)((Math.Min(to, i + 1) - Math.Max(from, i)) / (to - from)));
        }
    }

    private SKBitmap ToBitmap()
    {
        var bitmap = new SKBitmap(Rgba.WithSize(Width, Height));
        var target = bitmap.GetPixelSpan();
        for (int i = 0, j = 0; i < pixels.Length; i += 3, j += 4)
        {
            pixels.AsSpan(i, 3).CopyTo(target[j..]);
            target[j + 3] = 255;
        }

        return bitmap;
    }

    private static RgbImage FromBitmap(SKBitmap bitmap, SKEncodedOrigin origin)
    {
        var (sourceWidth, sourceHeight) = (bitmap.Width, bitmap.Height);
        var turned = origin >= SKEncodedOrigin.LeftTop;
        var (width, height) = turned ? (sourceHeight, sourceWidth) : (sourceWidth, sourceHeight);
        var source = MemoryMarshal.Cast<byte, int>(bitmap.GetPixelSpan());
        var bytes = new byte[3 * width * height];
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < width; x++)
            {
                var (sx, sy) = origin switch
                {
                    SKEncodedOrigin.TopRight => (width - 1 - x, y),
                    SKEncodedOrigin.BottomRight => (width - 1 - x, height - 1 - y),
                    SKEncodedOrigin.BottomLeft => (x, height - 1 - y),
                    SKEncodedOrigin.LeftTop => (y, x),
                    SKEncodedOrigin.RightTop => (y, width - 1 - x),
                    SKEncodedOrigin.RightBottom => (height - 1 - y, width - 1 - x),
                    SKEncodedOrigin.LeftBottom => (height - 1 - y, x),
                    _ => (x, y),
                };
                var pixel = source[sy * sourceWidth + sx];
                var alpha = (pixel >> 24) & 255;
                var at = 3 * (y * width + x);
                bytes[at] = OnWhite(pixel & 255, alpha);
                bytes[at + 1] = OnWhite((pixel >> 8) & 255, alpha);
                bytes[at + 2] = OnWhite((pixel >> 16) & 255, alpha);
            }
        }

        return new RgbImage(width, height, bytes);
    }

    private static byte OnWhite(int value, int alpha) => (byte)((value * alpha + 255 * (255 - alpha) + 127) / 255);
}
