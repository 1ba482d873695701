namespace LoraNotebooks;

/// <summary>Many names or faults in one message: the first ten, each cut where it is long, and how many more there are, so that no message buries its point.</summary>
internal static class Listing
{
    /// <summary>How many are named.</summary>
    public const int Most = 10;

    private const int LongestItem = 300;

    /// <summary>One to a line, each after a dash.</summary>
    /// <param name="items">What to list.</param>
    public static string Lines(IReadOnlyCollection<string> items) => "- " + string.Join("\n- ", Shown(items));

    /// <summary>In one line, by commas.</summary>
    /// <param name="items">What to list.</param>
    /// <param name="separator">What stands between two.</param>
    public static string Inline(IReadOnlyCollection<string> items, string separator = ", ") => string.Join(separator, Shown(items));

    /// <summary>A number of things: "1 fault", "2 faults".</summary>
    /// <param name="count">The number.</param>
    /// <param name="thing">What they are, one of them.</param>
    public static string Count(int count, string thing) => $"{count} {thing}{(count == 1 ? "" : "s")}";

    private static IEnumerable<string> Shown(IReadOnlyCollection<string> items) => items
        .Take(Most)
        .Select(static item => item.Length <= LongestItem ? item : $"{item[..LongestItem]}… ({item.Length} characters)")
        .Concat(items.Count > Most ? [$"and {items.Count - Most} more"] : []);
}
