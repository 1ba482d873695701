namespace LoraNotebooks.Formats;

/// <summary>Why something of a LoRA file is told of.</summary>
public enum LoraNoteKind
{
    /// <summary>A name that means nothing here, or no module of the model. It is left out.</summary>
    Unknown,

    /// <summary>Something known that is not supported, or that is no part of a LoRA. It is left out.</summary>
    Unsupported,

    /// <summary>A number that is not told and was assumed.</summary>
    Assumed,

    /// <summary>Numbers that are not finite. They are read as they are.</summary>
    NotFinite,

    /// <summary>Something broken. Only an inspection goes on after it.</summary>
    Damaged,
}

/// <summary>What reading a LoRA left out or found strange.</summary>
/// <param name="Kind">Of which kind it is.</param>
/// <param name="Reason">The reason, and where there is one the remedy.</param>
/// <param name="Names">The names of tensors, or of layers whose numbers are not finite.</param>
public sealed record LoraNote(LoraNoteKind Kind, string Reason, IReadOnlyList<string> Names)
{
    /// <summary>One line: how many, why, and the first ten names.</summary>
    public override string ToString() => Text(Listing.Most);

    /// <summary>Several notes in one line, which together give about ten names.</summary>
    internal static string Text(IReadOnlyList<LoraNote> notes) => string.Join("; ", notes.Select(note => note.Text(Math.Max(1, Listing.Most / notes.Count))));

    private string Text(int most)
    {
        var names = Listing.Inline(Names, most: most);
        return Kind switch
        {
            LoraNoteKind.NotFinite => $"{Listing.Count(Names.Count, "layer")} with numbers that are not finite ({Reason}): {names}",
            LoraNoteKind.Assumed => $"{Reason}: {names}",
            LoraNoteKind.Damaged => $"damaged ({Reason}): {names}",
            _ => $"left out {Listing.Count(Names.Count, "tensor")} ({Reason}): {names}",
        };
    }
}
