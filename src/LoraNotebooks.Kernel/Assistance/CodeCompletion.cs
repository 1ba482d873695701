using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Completion;
using Microsoft.CodeAnalysis.Text;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>Completes C# by Roslyn's completion service.</summary>
internal static class CodeCompletion
{
    private const int MaximumMatches = 300;
    private const int MaximumDescribed = 50;

    // Two letters begin the names of hundreds of types that nobody means.
    private const int FewestTyped = 3;
    private const int MaximumNotImported = 20;

    /// <summary>What could stand at a position of a document.</summary>
    public static async Task<CompletionReply> CompleteAsync(Document document, int position, CancellationToken cancellation)
    {
        if (CompletionService.GetService(document) is not { } service)
        {
            throw new InvalidOperationException(
                "Roslyn's completion service is missing. "
                    + "The assemblies Microsoft.CodeAnalysis.Features and Microsoft.CodeAnalysis.CSharp.Features must lie beside the kernel.");
        }

        var list = await service.GetCompletionsAsync(document, position, cancellationToken: cancellation).ConfigureAwait(false);
        if (list.ItemsList.Count == 0 || list.Span.Start > position)
        {
            return CompletionReply.None(position);
        }

        var text = await document.GetTextAsync(cancellation).ConfigureAwait(false);
        var names = await ReachableNames.AtAsync(document, list.Span.Start, cancellation).ConfigureAwait(false);
        var typed = text.ToString(TextSpan.FromBounds(list.Span.Start, position));
        var best = service.FilterItems(document, [.. list.ItemsList], typed);
        var chosen = new List<(CompletionItem Item, TextChange Change)>();
        foreach (var item in CompletionRanking.Rank(list.ItemsList, typed, best, names, MaximumMatches))
        {
            var change = await ChangeAsync(service, document, item, cancellation).ConfigureAwait(false);
            if (IsOnTheLine(change, text, list.Span))
            {
                chosen.Add((item, change));
            }
        }

        var others = NotImported(names, typed).ToArray();

        // One span holds for all matches; the narrower ones repeat what stands around them.
        var start = chosen.Select(choice => choice.Change.Span.Start).DefaultIfEmpty(others.Length > 0 ? list.Span.Start : position).Min();
        var end = list.Span.End;
        var matches = chosen
            .Select(choice => (choice.Item, Text: text.ToString(TextSpan.FromBounds(start, choice.Change.Span.Start)) + choice.Change.NewText))
            .DistinctBy(choice => choice.Text)
            .Select((choice, number) => Match(choice.Item, choice.Text, number < MaximumDescribed ? names : null, cancellation));
        var before = text.ToString(TextSpan.FromBounds(start, Math.Max(start, list.Span.Start)));
        return new CompletionReply([.. matches, .. others.Select(match => match with { Text = before + match.Text })], start, end);
    }

    /// <summary>Types of namespaces that are not open, under their full names: a proposal can only change the text that is being completed.</summary>
    private static IEnumerable<CompletionMatch> NotImported(ReachableNames? names, string typed) => names is null || typed.Length < FewestTyped ? [] : names
        .NotImported(typed, MaximumNotImported)
        .Select(type => (type.Name, Kind: type.TypeKind.ToString().ToLowerInvariant(), Space: type.ContainingNamespace.ToDisplayString()))
        .Select(type => new CompletionMatch(
            $"{type.Space}.{type.Name}",
            type.Kind,
            $"using {type.Space};",
            $"With `using {type.Space};` at the top of the cell it is {type.Name}."));

    private static async Task<TextChange> ChangeAsync(CompletionService service, Document document, CompletionItem item, CancellationToken cancellation)
    {
        var change = (await service.GetChangeAsync(document, item, cancellationToken: cancellation).ConfigureAwait(false)).TextChange;
        // An editor lets its user type the colon of a named argument; here the proposal is all there is.
        return item.DisplayTextSuffix == ":" && change.NewText?.EndsWith(':') == false ? new TextChange(change.Span, change.NewText + ":") : change;
    }

    /// <summary>Whether a change replaces the completed text, at most with what stands before it on its line, as an overriding member does.</summary>
    private static bool IsOnTheLine(TextChange change, SourceText text, TextSpan span) =>
        !string.IsNullOrEmpty(change.NewText)
        && change.Span.End == span.End
        && change.Span.Start <= span.Start
        && text.Lines.GetLineFromPosition(span.Start).Start <= change.Span.Start;

    private static CompletionMatch Match(CompletionItem item, string text, ReachableNames? names, CancellationToken cancellation)
    {
        var (signature, description) = names?.Describe(item.DisplayText.TrimStart('@'), cancellation) ?? ("", "");
        return new CompletionMatch(text, CompletionRanking.KindOf(item), signature, description);
    }
}
