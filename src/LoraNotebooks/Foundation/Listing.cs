namespace LoraNotebooks.Foundation;

/// <summary>
/// Many names or faults in one message: the first ten, each cut in its middle where it is long, and how many
/// more there are, so that no message buries its point.
/// </summary>
internal static class Listing
{
    /// <summary>How many are named.</summary>
    public const int Most = 10;

    private const int LongestItem = 320;
    private const int Beginning = 200;
    private const int End = 100;

    /// <summary>One to a line, each after a dash.</summary>
    /// <param name="items">What to list.</param>
    /// <param name="most">How many are listed; more than ten only where there cannot be many.</param>
    public static string Lines(IReadOnlyCollection<string> items, int most = Most) => "- " + string.Join("\n- ", Shown(items, most));

    /// <summary>In one line, by commas.</summary>
    /// <param name="items">What to list.</param>
    /// <param name="separator">What stands between two.</param>
    /// <param name="most">How many are named, where several lists share one message.</param>
    public static string Inline(IReadOnlyCollection<string> items, string separator = ", ", int most = Most) => string.Join(separator, Shown(items, most));

    /// <summary>A number of things: "1 fault", "2 faults".</summary>
    /// <param name="count">The number.</param>
    /// <param name="thing">What they are, one of them.</param>
    public static string Count(int count, string thing) => $"{count} {thing}{(count == 1 ? "" : "s")}";

    private static IEnumerable<string> Shown(IReadOnlyCollection<string> items, int most) => items
        .Take(most)
        .Select(static item => item.Length <= LongestItem ? item : $"{item[..Beginning]}… ({item.Length} characters) …{item[^End..]}")
        .Concat(items.Count > most ? [$"and {items.Count - most} more"] : []);
}
