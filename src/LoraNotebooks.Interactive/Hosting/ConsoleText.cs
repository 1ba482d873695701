using System.Globalization;
using System.Text;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Text as it may go to a terminal.</summary>
internal static class ConsoleText
{
    /// <summary>The text with <c>\n</c> as line end and without control characters, which could move the cursor or change the terminal's state.</summary>
    public static string Clean(string text) => text.Any(c => char.IsControl(c) && c != '\n')
        ? string.Concat(text.ReplaceLineEndings("\n").Replace("\t", "    ", StringComparison.Ordinal).Where(c => c == '\n' || !char.IsControl(c)))
        : text;

    /// <summary>Two texts one under the other.</summary>
    public static string Join(string first, string second) => string.Join('\n', new[] { first, second }.Where(text => text.Length > 0));
}

/// <summary>What a console can do with a bundle's pictures: say how large they are, and save them.</summary>
/// <param name="Description">What it is, in words.</param>
/// <param name="Extension">Of the file.</param>
/// <param name="File">The file's content.</param>
internal sealed record ConsolePicture(string Description, string Extension, byte[] File)
{
    /// <summary>The picture of a bundle, or a page, if it has pictures in its HTML only; null if it has none.</summary>
    public static ConsolePicture? Of(MimeBundle bundle)
    {
        if (bundle.Text(MimeTypes.Png) is { } png)
        {
            var bytes = Convert.FromBase64String(png);
            var size = SKBitmap.DecodeBounds(bytes);
            return new(string.Create(CultureInfo.InvariantCulture, $"picture, {size.Width} × {size.Height} pixels"), ".png", bytes);
        }

        var html = bundle.Text(MimeTypes.Html) ?? "";
        var pictures = html.Split("<img ").Length - 1;
        return pictures == 0 ? null : new(
            Numbers.Of(pictures, "picture"),
            ".html",
            Encoding.UTF8.GetBytes(
                $"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>LoraNotebooks</title></head><body>{html}</body></html>\n"));
    }
}
