namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Places in a cell's source.</summary>
internal static class CellText
{
    /// <summary>The line around a position: where it starts, and its text up to the position.</summary>
    public static (int Start, string Text) LineUpTo(string code, int position)
    {
        var start = position == 0 ? 0 : code.LastIndexOfAny(['\r', '\n'], position - 1) + 1;
        return (start, code[start..position]);
    }
}
