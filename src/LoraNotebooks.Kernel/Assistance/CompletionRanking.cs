using System.Collections.Immutable;
using Microsoft.CodeAnalysis.Completion;
using Microsoft.CodeAnalysis.Tags;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Which proposals fit what was typed, the most fitting first.</summary>
internal static class CompletionRanking
{
    private static readonly Dictionary<string, string> KindOfTag = new(StringComparer.Ordinal)
    {
        [WellKnownTags.Local] = "variable",
        [WellKnownTags.RangeVariable] = "variable",
        [WellKnownTags.Parameter] = "parameter",
        [WellKnownTags.Field] = "field",
        [WellKnownTags.Constant] = "constant",
        [WellKnownTags.Property] = "property",
        [WellKnownTags.Method] = "method",
        [WellKnownTags.ExtensionMethod] = "method",
        [WellKnownTags.Event] = "event",
        [WellKnownTags.Keyword] = "keyword",
        [WellKnownTags.EnumMember] = "enum member",
        [WellKnownTags.Class] = "class",
        [WellKnownTags.Structure] = "struct",
        [WellKnownTags.Interface] = "interface",
        [WellKnownTags.Enum] = "enum",
        [WellKnownTags.Delegate] = "delegate",
        [WellKnownTags.TypeParameter] = "type parameter",
        [WellKnownTags.Namespace] = "namespace",
        [WellKnownTags.Module] = "module",
        [WellKnownTags.Operator] = "operator",
        [WellKnownTags.Label] = "label",
    };

    // What a list too long to show in full starts with, before the thousands of types of all open namespaces.
    private static readonly string[] MostSpecificKinds = ["parameter", "variable", "keyword", "property", "event", "method", "field"];

    /// <summary>The kind of an item in the words of a reader.</summary>
    public static string KindOf(CompletionItem item) => item.Tags.Select(KindOfTag.GetValueOrDefault).FirstOrDefault(kind => kind is not null) ?? "text";

    /// <summary>The items that fit, in the order in which they are shown.</summary>
    /// <param name="items">What the compiler proposes.</param>
    /// <param name="typed">The text from the start of the replaced span to the caret.</param>
    /// <param name="best">What the completion service would choose for this text.</param>
    /// <param name="names">What can be named there; the session's own names come before those of libraries.</param>
    /// <param name="limit">How many at most.</param>
    public static IEnumerable<CompletionItem> Rank(
        IEnumerable<CompletionItem> items,
        string typed,
        ImmutableArray<CompletionItem> best,
        ReachableNames? names,
        int limit)
    {
        var fitting = items.Select(item => (Item: item, Fit: Fit(item.FilterText, typed))).Where(pair => pair.Fit is not null).ToArray();
        var isTooLong = fitting.Length > limit;
        var chosen = typed.Length == 0 ? [] : best.ToHashSet();
        return fitting
            .OrderByDescending(pair => chosen.Contains(pair.Item))
            .ThenBy(pair => pair.Fit)
            .ThenByDescending(pair => pair.Item.Rules.MatchPriority)
            .ThenByDescending(pair => names?.IsOfSession(pair.Item.DisplayText) == true)
            .ThenBy(pair => isTooLong ? Order(pair.Item) : 0)
            .ThenBy(pair => pair.Item.SortText, StringComparer.OrdinalIgnoreCase)
            .ThenBy(pair => pair.Item.DisplayText, StringComparer.Ordinal)
            .Take(limit)
            .Select(pair => pair.Item);
    }

    /// <summary>How well a name fits what was typed: 0 is best, null not at all.</summary>
    internal static int? Fit(string name, string typed) =>
        name.StartsWith(typed, StringComparison.Ordinal) ? 0
        : name.StartsWith(typed, StringComparison.OrdinalIgnoreCase) ? 1
        : FitsHumps(name, 0, typed) ? 2
        : WordContaining(name, typed) ? 3
        : null;

    /// <summary>Whether every typed letter continues a word of the name or starts a later one, as in <c>toss</c> for <c>TrainingOptions.StepSize</c>.</summary>
    private static bool FitsHumps(string name, int from, ReadOnlySpan<char> typed)
    {
        if (typed.IsEmpty)
        {
            return true;
        }

        for (var start = from; start < name.Length; start++)
        {
            if (!StartsWord(name, start) || char.ToUpperInvariant(name[start]) != char.ToUpperInvariant(typed[0]))
            {
                continue;
            }

            var length = 1;
            while (length < typed.Length && start + length < name.Length && char.ToUpperInvariant(name[start + length]) == char.ToUpperInvariant(typed[length]))
            {
                length++;
            }

            for (; length > 0; length--)
            {
                if (FitsHumps(name, start + length, typed[length..]))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Whether the text stands in the name somewhere; two letters stand nearly everywhere and say nothing.</summary>
    private static bool WordContaining(string name, string typed) => typed.Length > 2 && name.Contains(typed, StringComparison.OrdinalIgnoreCase);

    private static bool StartsWord(string name, int at) =>
        at == 0
        || !char.IsLetterOrDigit(name[at - 1])
        || (char.IsUpper(name[at]) && (!char.IsUpper(name[at - 1]) || (at + 1 < name.Length && char.IsLower(name[at + 1]))))
        || (char.IsDigit(name[at]) && !char.IsDigit(name[at - 1]));

    private static int Order(CompletionItem item) => Array.IndexOf(MostSpecificKinds, KindOf(item)) is >= 0 and var order ? order : MostSpecificKinds.Length;
}
