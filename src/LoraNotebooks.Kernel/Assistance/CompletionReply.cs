namespace LoraNotebooks.Kernel.Assistance;

/// <summary>What could stand at a position.</summary>
/// <param name="Matches">The proposals, the most fitting first; each replaces the text from <paramref name="Start"/> to <paramref name="End"/>.</param>
/// <param name="Start">The first UTF-16 position that is replaced.</param>
/// <param name="End">The UTF-16 position behind the last one that is replaced.</param>
internal sealed record CompletionReply(IReadOnlyList<CompletionMatch> Matches, int Start, int End)
{
    /// <summary>No proposals at a position.</summary>
    public static CompletionReply None(int position) => new([], position, position);
}

/// <summary>One proposal.</summary>
/// <param name="Text">The text to insert.</param>
/// <param name="Kind">What it is in the words of a reader: <c>method</c>, <c>property</c>, <c>class</c>, <c>keyword</c>, <c>variable</c>, …</param>
/// <param name="Signature">How it is declared; empty where that was not looked up or says nothing.</param>
/// <param name="Description">Its summary; empty where that was not looked up or there is none.</param>
internal sealed record CompletionMatch(string Text, string Kind, string Signature = "", string Description = "");
