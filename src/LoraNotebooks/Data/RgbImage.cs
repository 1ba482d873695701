using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Data;

/// <summary>A picture in memory: rows of red, green, blue bytes. It never changes once made.</summary>
public sealed class RgbImage
{
    private readonly byte[] _pixels;

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

        (Width, Height, _pixels) = (width, height, pixels);
    }

    /// <summary>Width in pixels.</summary>
    public int Width { get; }

    /// <summary>Height in pixels.</summary>
    public int Height { get; }

    /// <summary>The bytes, row by row, red, green, blue.</summary>
    public ReadOnlySpan<byte> Pixels => _pixels;

    /// <summary>The colour of one pixel.</summary>
    public (byte Red, byte Green, byte Blue) this[int x, int y]
    {
        get
        {
            var at = 3 * (y * Width + x);
            return (_pixels[at], _pixels[at + 1], _pixels[at + 2]);
        }
    }

    /// <summary>
    /// Reads a PNG, JPEG, WebP, BMP or GIF; transparent parts lie on white, the camera's orientation is applied, of moving pictures the first is taken, and
    /// said so.
    /// </summary>
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
        var image = ImageCodec.Decode(bytes, name);
        if (ImageCodec.Frames(bytes, name) is > 1 and var frames)
        {
            Notice.Tell($"{name}: got {frames} frames, the first is used.");
        }

        return image;
    }

    /// <summary>Makes an image from a tensor.</summary>
    /// <param name="tensor">[3, H, W] with values in [-1, 1]; values outside are clamped.</param>
    /// <exception cref="ArgumentException">The tensor has another shape, or numbers that are not finite, of which no pixel can be made.</exception>
    public static RgbImage FromTensor(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.dim() != 3 || tensor.shape[0] != 3)
        {
            throw new ArgumentException($"An image tensor has the shape [3, H, W], got {Shapes.Text(tensor.shape)}.", nameof(tensor));
        }

        if (!Finite.Is(tensor))
        {
            throw new ArgumentException(
                "An image tensor has finite numbers, got some that are not (NaN or infinity). Look into what computed it.", nameof(tensor));
        }

        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var bytes = tensor.detach().cpu().to(ScalarType.Float32).Within(-1, 1).Plus(1).Times(127.5).round().to(ScalarType.Byte).permute(1, 2, 0).contiguous();
        return new RgbImage((int)tensor.shape[2], (int)tensor.shape[1], bytes.data<byte>().ToArray());
    }

    /// <summary>The image as float32 [3, H, W] in [-1, 1].</summary>
    public Tensor ToTensor()
    {
        using var scope = NewDisposeScope();
        return tensor(_pixels, [Height, Width, 3]).permute(2, 0, 1).to(ScalarType.Float32).Over_(127.5).Minus_(1).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>Several images of one size as float32 [N, 3, H, W] in [-1, 1].</summary>
    public static Tensor ToTensor(IReadOnlyList<RgbImage> images)
    {
        using var scope = NewDisposeScope();
        return stack(images.Select(static image => image.ToTensor())).MoveToOuterDisposeScope();
    }

    /// <summary>The image as PNG; the same pixels always give the same bytes.</summary>
    public byte[] EncodePng() => ImageCodec.EncodePng(this);

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
        return ImageScaling.Resize(this, width, height);
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
            _pixels.AsSpan(3 * ((y + row) * Width + x), 3 * width).CopyTo(part.AsSpan(3 * row * width));
        }

        return new RgbImage(width, height, part);
    }

    /// <summary>The image seen in a mirror: left and right change places.</summary>
    public RgbImage Mirror()
    {
        var mirrored = new byte[_pixels.Length];
        for (var y = 0; y < Height; y++)
        {
            for (var x = 0; x < Width; x++)
            {
                _pixels.AsSpan(3 * (y * Width + x), 3).CopyTo(mirrored.AsSpan(3 * (y * Width + Width - 1 - x)));
            }
        }

        return new RgbImage(Width, Height, mirrored);
    }

    /// <summary>Several images in rows, from the upper left; each cell is as large as the largest image, which lies in its middle.</summary>
    /// <param name="images">The images, one or more.</param>
    /// <param name="columns">How many stand in a row; default null: as many as make the grid about square.</param>
    /// <param name="padding">The white space around each cell in pixels. Default 2.</param>
    /// <exception cref="ArgumentException">There are no images.</exception>
    public static RgbImage Grid(IReadOnlyList<RgbImage> images, int? columns = null, int padding = 2)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentOutOfRangeException.ThrowIfNegative(padding);
        if (images.Count == 0)
        {
            throw new ArgumentException("A grid needs one image or more, got none.", nameof(images));
        }

        var across = Math.Min(columns ?? (int)Math.Ceiling(Math.Sqrt(images.Count)), images.Count);
        ArgumentOutOfRangeException.ThrowIfLessThan(across, 1, nameof(columns));
        var down = (images.Count + across - 1) / across;
        var (cellWidth, cellHeight) = (images.Max(static image => image.Width), images.Max(static image => image.Height));
        var (width, height) = (padding + across * (cellWidth + padding), padding + down * (cellHeight + padding));
        var bytes = new byte[3L * width * height];
        Array.Fill(bytes, byte.MaxValue);
        for (var i = 0; i < images.Count; i++)
        {
            var image = images[i];
            var left = padding + i % across * (cellWidth + padding) + (cellWidth - image.Width) / 2;
            var top = padding + i / across * (cellHeight + padding) + (cellHeight - image.Height) / 2;
            for (var y = 0; y < image.Height; y++)
            {
                image.Pixels.Slice(3 * y * image.Width, 3 * image.Width).CopyTo(bytes.AsSpan(3 * ((top + y) * width + left)));
            }
        }

        return new RgbImage(width, height, bytes);
    }
}
