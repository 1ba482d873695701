namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Places in a text: the protocol counts Unicode code points, .NET counts UTF-16 units.</summary>
internal static class TextPositions
{
    /// <summary>The index of the code point number <paramref name="codePoints"/>, at most the end.</summary>
    public static int ToIndex(string text, int codePoints)
    {
        var index = 0;
        for (var n = 0; n < codePoints && index < text.Length; n++)
        {
            index += char.IsSurrogatePair(text, index) ? 2 : 1;
        }

        return index;
    }

    /// <summary>How many code points stand before an index.</summary>
    public static int FromIndex(string text, int index)
    {
        var count = 0;
        foreach (var _ in text.AsSpan(0, Math.Clamp(index, 0, text.Length)).EnumerateRunes())
        {
            count++;
        }

        return count;
    }
}
