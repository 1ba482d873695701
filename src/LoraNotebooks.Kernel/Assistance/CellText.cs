namespace LoraNotebooks.Kernel.Assistance;

/// <summary>A cell's source as the compiler is to see it.</summary>
internal static class CellText
{
    /// <summary>Blanks line commands, <c>#i</c> directives and parts in another language; every position and line break stays.</summary>
    public static string ToCSharp(string code)
    {
        if (!code.Contains('#', StringComparison.Ordinal))
        {
            return code;
        }

        var text = code.ToCharArray();
        var isOtherLanguage = false;
        for (var start = 0; start < text.Length;)
        {
            var end = code.AsSpan(start).IndexOfAny('\r', '\n') is >= 0 and var length ? start + length : code.Length;
            var line = code.AsSpan(start, end - start);
            var magic = Magics.OfLine(line);
            isOtherLanguage = magic?.Name == "#!csharp" ? false : isOtherLanguage || magic?.IsOtherLanguage == true;
            if (isOtherLanguage || IsBlank(line.TrimStart()))
            {
                text.AsSpan(start, end - start).Fill(' ');
            }

            start = end + 1;
        }

        return new string(text);
    }

    /// <summary>The line around a position: where it starts, and its text up to the position.</summary>
    public static (int Start, string Text) LineUpTo(string code, int position)
    {
        var start = position == 0 ? 0 : code.LastIndexOfAny(['\r', '\n'], position - 1) + 1;
        return (start, code[start..position]);
    }

    // #i names a package feed; #if must stay.
    private static bool IsBlank(ReadOnlySpan<char> line) =>
        line.StartsWith("#!") || (line.StartsWith("#i") && (line.Length == 2 || line[2] is ' ' or '\t' or '"'));
}
