using System.Globalization;
using System.Text.RegularExpressions;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>A stretch of text in one style.</summary>
/// <param name="Text">The text, without codes.</param>
/// <param name="Letters">The colour of the letters, 0 to 7 in a terminal's order, 8 to 15 the bright ones; null for the usual one.</param>
/// <param name="IsBold">Whether it is bold.</param>
internal readonly record struct AnsiRun(string Text, int? Letters, bool IsBold);

/// <summary>Text with a terminal's colour codes, taken apart.</summary>
/// <remarks>Source: ECMA-48, 8.3.117 (SGR). Other codes, colours of the ground and those beyond the sixteen are left out.</remarks>
internal static partial class AnsiText
{
    /// <summary>The text without any codes.</summary>
    public static string Plain(string text) => text.Contains('\u001b', StringComparison.Ordinal) ? Code().Replace(text, "") : text;

    /// <summary>The text in stretches of one style; an empty stretch is left out.</summary>
    public static IEnumerable<AnsiRun> Runs(string text)
    {
        var (start, letters, isBold) = (0, (int?)null, false);
        foreach (Match code in Code().Matches(text))
        {
            if (code.Index > start)
            {
                yield return new AnsiRun(text[start..code.Index], letters, isBold);
            }

            start = code.Index + code.Length;
            if (code.Value is ['\u001b', '[', .. var parameters, 'm'])
            {
                (letters, isBold) = Apply(parameters.Split(';'), letters, isBold);
            }
        }

        if (start < text.Length)
        {
            yield return new AnsiRun(text[start..], letters, isBold);
        }
    }

    private static (int? Letters, bool IsBold) Apply(string[] parameters, int? letters, bool isBold)
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            switch (int.TryParse(parameters[i], NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0)
            {
                case 0:
                    (letters, isBold) = (null, false);
                    break;
                case 1:
                    isBold = true;
                    break;
                case 22:
                    isBold = false;
                    break;
                case >= 30 and <= 37:
                    letters = number - 30;
                    break;
                case >= 90 and <= 97:
                    letters = number - 90 + 8;
                    break;
                case 39:
                    letters = null;
                    break;
                case 38 or 48:
                    // "5;n" or "2;r;g;b" follows.
                    i += i + 1 < parameters.Length && parameters[i + 1] == "2" ? 4 : 2;
                    break;
            }
        }

        return (letters, isBold);
    }

    [GeneratedRegex(@"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")]
    private static partial Regex Code();
}
