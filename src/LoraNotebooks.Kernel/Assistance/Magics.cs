namespace LoraNotebooks.Kernel.Assistance;

/// <summary>A line command of a cell, such as <c>#!time</c>.</summary>
/// <param name="Name">The name with its <c>#!</c>.</param>
/// <param name="Description">One sentence for a reader.</param>
/// <param name="IsOtherLanguage">Whether what follows is not C#, up to the next language.</param>
internal sealed record Magic(string Name, string Description, bool IsOtherLanguage = false);

/// <summary>The line commands that the editing help offers.</summary>
internal static class Magics
{
    /// <summary>Every command by its place in the list.</summary>
    public static IReadOnlyList<Magic> All { get; } =
    [
        new("#!about", "Shows the versions of the kernel, the toolkit and the runtime."),
        new("#!csharp", "What follows is C#."),
        new("#!html", "What follows is HTML, shown as it is.", IsOtherLanguage: true),
        new("#!lsmagic", "Lists the line commands."),
        new("#!markdown", "What follows is Markdown, shown as text.", IsOtherLanguage: true),
        new("#!time", "Shows how long the cell took."),
    ];

    /// <summary>The command that a line starts with, or null.</summary>
    public static Magic? OfLine(ReadOnlySpan<char> line)
    {
        var trimmed = line.Trim();
        var end = trimmed.IndexOfAny(' ', '\t');
        var name = end < 0 ? trimmed : trimmed[..end];
        foreach (var magic in All)
        {
            if (name.SequenceEqual(magic.Name))
            {
                return magic;
            }
        }

        return null;
    }
}
