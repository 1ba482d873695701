using System.Globalization;
using System.Text;

namespace LoraNotebooks.Data;

/// <summary>Characters in captions that cannot be seen, and make two tags of one: zero-width spaces, marks of direction, spaces of other widths.</summary>
internal static class InvisibleText
{
    /// <summary>Zero-width joiners have a meaning in many scripts and in emoji, but none beside Latin letters.</summary>
    private const char NonJoiner = '\u200C';

    private const char Joiner = '\u200D';

    /// <summary>The text without them, other spaces as plain ones, and what was found, e.g. "U+200B twice"; null when there was nothing.</summary>
    public static (string Text, string? Found) Clean(string text)
    {
        var found = new SortedDictionary<char, int>();
        var clean = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            var isSpace = IsOtherSpace(c);
            if (!isSpace && !IsInvisible(text, i))
            {
                clean.Append(c);
                continue;
            }

            found[c] = found.GetValueOrDefault(c) + 1;
            if (isSpace)
            {
                clean.Append(' ');
            }
        }

        return found.Count == 0 ? (text, null) : (clean.ToString(), string.Join(", ", found.Select(static pair => Invariant(pair.Key, pair.Value))));
    }

    private static string Invariant(char c, int count) =>
        string.Create(CultureInfo.InvariantCulture, $"U+{(int)c:X4} {(count == 1 ? "once" : $"{count} times")}");

    /// <summary>No-break, wide and narrow spaces, and the line ends that no editor shows as such.</summary>
    private static bool IsOtherSpace(char c) => c is '\t' or '\v' or '\f' or '\u0085' || (c > ' ' && char.IsWhiteSpace(c));

    private static bool IsInvisible(string text, int at) => text[at] is NonJoiner or Joiner
        ? at == 0 || at == text.Length - 1 || char.IsAscii(text[at - 1]) || char.IsAscii(text[at + 1])
        : char.GetUnicodeCategory(text[at]) is UnicodeCategory.Format or UnicodeCategory.Control && text[at] is not ('\r' or '\n' or '\0');
}
