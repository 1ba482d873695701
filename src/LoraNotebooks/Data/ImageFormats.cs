namespace LoraNotebooks.Data;

/// <summary>Image formats, told by their first bytes and by file names.</summary>
internal static class ImageFormats
{
    private static readonly Dictionary<string, string> Readable = new(StringComparer.OrdinalIgnoreCase)
    {
        [".png"] = "PNG",
        [".jpg"] = "JPEG",
        [".jpeg"] = "JPEG",
        [".webp"] = "WebP",
        [".bmp"] = "BMP",
    };

    private static readonly HashSet<string> Unreadable = new(StringComparer.OrdinalIgnoreCase)
    {
        ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".jfif", ".psd", ".svg",
        ".ico", ".tga", ".exr", ".hdr", ".raw", ".dng", ".cr2", ".nef", ".arw", ".xcf", ".kra",
    };

    /// <summary>How many of the first bytes tell the format.</summary>
    public const int SignatureLength = 16;

    /// <summary>The formats that a dataset may hold.</summary>
    public const string Supported = ".png, .jpg, .jpeg, .webp or .bmp";

    /// <summary>The format that a name promises, if it is one that is read.</summary>
    public static string? OfName(string path) => Readable.GetValueOrDefault(Path.GetExtension(path));

    /// <summary>Whether a name is that of an image of another kind.</summary>
    public static bool IsOtherImage(string path) => Unreadable.Contains(Path.GetExtension(path));

    /// <summary>The usual extension of a format that is read, else null.</summary>
    public static string? Extension(string format) => Readable.FirstOrDefault(pair => pair.Value == format).Key;

    /// <summary>The format that a file's first bytes tell, also of kinds that are not read; null when it is no image.</summary>
    public static string? OfContent(ReadOnlySpan<byte> head) => head switch
    {
        [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => "PNG",
        [0xFF, 0xD8, 0xFF, ..] => "JPEG",
        [(byte)'R', (byte)'I', (byte)'F', (byte)'F', _, _, _, _, (byte)'W', (byte)'E', (byte)'B', (byte)'P', ..] => "WebP",
        // After "BM" come the file's size, two reserved fields that are zero, and the offset of the pixels.
        [(byte)'B', (byte)'M', _, _, _, _, 0, 0, 0, 0, ..] => "BMP",
        [(byte)'G', (byte)'I', (byte)'F', (byte)'8', ..] => "GIF",
        [(byte)'I', (byte)'I', 42, 0, ..] or [(byte)'M', (byte)'M', 0, 42, ..] => "TIFF",
        [(byte)'8', (byte)'B', (byte)'P', (byte)'S', ..] => "Photoshop",
        [_, _, _, _, (byte)'f', (byte)'t', (byte)'y', (byte)'p', (byte)'a' or (byte)'h' or (byte)'m', ..] => "AVIF or HEIC",
        [0xFF, 0x0A, ..] or [0, 0, 0, 0x0C, (byte)'J', (byte)'X', (byte)'L', ..] => "JPEG XL",
        _ => null,
    };

    /// <summary>As <see cref="OfContent(ReadOnlySpan{byte})"/>, of a file.</summary>
    public static string? OfContent(string path)
    {
        using var file = File.OpenRead(path);
        Span<byte> head = stackalloc byte[SignatureLength];
        return OfContent(head[..file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)]);
    }
}
