using System.Globalization;
using System.Text;

namespace LoraNotebooks.Models.Language;

/// <summary>What CLIP does to a text before byte-pair encoding: normalization, then the split into words.</summary>
/// <remarks>
/// Normalization: Unicode form C, runs of white space to one space, lower case per character.
/// Split (Hugging Face tokenizers, the pattern of CLIPTokenizer):
/// <c>'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+</c>. It is scanned by code point here because .NET's
/// regular expressions see UTF-16 units, to which a letter outside the basic plane is two symbols.
/// </remarks>
internal static class ClipPreTokenizer
{
    private static readonly string[] Contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum Kind
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <summary>Normalizes a text; see the remarks of the class.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="lowerCase">Whether to lower the case (upstream's <c>do_lower_case</c>).</param>
    public static string Normalize(string text, bool lowerCase)
    {
        var result = new StringBuilder(text.Length);
        var inSpace = false;
        foreach (var rune in CanonicalComposition.Compose(text).EnumerateRunes())
        {
            if (Rune.IsWhiteSpace(rune))
            {
                result.Append(inSpace ? "" : " ");
                inSpace = true;
                continue;
            }

            inSpace = false;

            // U+0130 is the one character whose lower case is two characters in every language.
            result.Append(!lowerCase ? rune.ToString() : rune.Value == 0x130 ? "i\u0307" : Rune.ToLowerInvariant(rune).ToString());
        }

        return result.ToString();
    }

    /// <summary>Splits a normalized text into the words that byte-pair encoding sees; white space is dropped.</summary>
    public static IEnumerable<string> Split(string text)
    {
        var start = 0;
        while (start < text.Length)
        {
            var kind = KindAt(text, start, out var length);
            var end = start + length;
            if (kind is Kind.Letter or Kind.Other)
            {
                end = Array.Find(Contractions, c => string.CompareOrdinal(text, start, c, 0, c.Length) == 0) is { } contraction
                    ? start + contraction.Length
                    : EndOfRun(text, end, kind);
            }

            if (kind != Kind.Space)
            {
                yield return text[start..end];
            }

            start = end;
        }
    }

    private static int EndOfRun(string text, int position, Kind kind)
    {
        while (position < text.Length && KindAt(text, position, out var length) == kind)
        {
            position += length;
        }

        return position;
    }

    private static Kind KindAt(string text, int position, out int length)
    {
        if (Rune.DecodeFromUtf16(text.AsSpan(position), out var rune, out length) != System.Buffers.OperationStatus.Done)
        {
            return Kind.Other;
        }

        return Rune.IsWhiteSpace(rune) ? Kind.Space : Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
