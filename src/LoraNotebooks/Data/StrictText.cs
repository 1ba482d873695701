using System.Text;

namespace LoraNotebooks.Data;

/// <summary>Text files of a dataset: UTF-8, checked.</summary>
internal static class StrictText
{
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Reads a text; a byte-order mark of UTF-8 is left out.</summary>
    /// <returns>The text, or what is wrong with it.</returns>
    public static (string? Text, string? Fault) Read(string path)
    {
        ReadOnlySpan<byte> bytes = File.ReadAllBytes(path);
        if (bytes is [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..])
        {
            return (null, "got UTF-16 (it begins with the bytes ff fe or fe ff), expected UTF-8. Save it as UTF-8.");
        }

        try
        {
            var text = Utf8.GetString(bytes is [0xEF, 0xBB, 0xBF, ..] ? bytes[3..] : bytes);
            return text.Contains('\0') ? (null, "got text with zero bytes, expected UTF-8; it may be UTF-16. Save it as UTF-8.") : (text, null);
        }
        catch (DecoderFallbackException error)
        {
            // The decoder always tells them; only an exception made elsewhere may lack them.
            var found = string.Join(' ', error.BytesUnknown!.Select(static b => b.ToString("x2")));
            return (null, $"got the bytes {found} at position {error.Index}, expected UTF-8. Save it as UTF-8.");
        }
    }
}
