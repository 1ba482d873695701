namespace LoraNotebooks.Formats;

/// <summary>
/// Gathers what reading one LoRA leaves out. What is not ours is left out and told once; what is broken is refused, and read strictly, so is the rest.
/// </summary>
/// <param name="path">The file or folder, for messages.</param>
/// <param name="isStrict">Whether everything that would be left out, assumed or only told of is refused.</param>
internal sealed class LoraReading(string path, bool isStrict = false)
{
    private const string Missing = "missing";

    private readonly OrderedDictionary<(LoraNoteKind Kind, string Reason), List<string>> _found = [];

    /// <summary>The file or folder.</summary>
    public string Path => path;

    /// <summary>What was found, in order.</summary>
    public IReadOnlyList<LoraNote> Notes =>
        [.. _found.OrderBy(static pair => pair.Key.Kind).Select(static pair => new LoraNote(pair.Key.Kind, pair.Key.Reason, pair.Value))];

    /// <summary>How many tensors were left out because the model has nothing for them.</summary>
    public int Strangers => _found.Where(static pair => pair.Key.Kind == LoraNoteKind.Unknown).Sum(static pair => pair.Value.Count);

    /// <summary>Notes something.</summary>
    public void Add(LoraNoteKind kind, string reason, string name)
    {
        if (!_found.TryGetValue((kind, reason), out var names))
        {
            _found[(kind, reason)] = names = [];
        }

        names.Add(name);
    }

    /// <summary>Notes a tensor that is not there although another needs it.</summary>
    public void IsMissing(string name) => Add(LoraNoteKind.Damaged, Missing, name);

    /// <summary>Notes the layers of an adapter whose numbers are not finite.</summary>
    public void RequireFinite(string network, LoraState state)
    {
        foreach (var layer in state.NotFinite())
        {
            Add(
                LoraNoteKind.NotFinite,
                "the training diverged, or a conversion overflowed: pictures will fail; take an earlier checkpoint",
                $"{network}: {layer}");
        }
    }

    /// <summary>Throws where something is damaged, and read strictly, where anything was noted; else tells it in one line.</summary>
    /// <exception cref="InvalidDataException">See above; the first ten names are listed.</exception>
    public IReadOnlyList<LoraNote> Finish()
    {
        ThrowIfRefused();
        if (_found.Count > 0)
        {
            Notice.Tell($"'{path}': {LoraNote.Text(Notes)}. To refuse such files, read them strictly.");
        }

        return Notes;
    }

    private void ThrowIfRefused()
    {
        var refused = Notes
            .Where(note => isStrict || note.Kind == LoraNoteKind.Damaged)
            .OrderByDescending(static note => note.Kind == LoraNoteKind.Damaged)
            .ToList();
        if (refused.Count == 0)
        {
            return;
        }

        var lines = refused.SelectMany(static note => note.Names.Select(name => Line(note, name))).ToList();
        throw new InvalidDataException(refused[0].Kind == LoraNoteKind.Damaged
            ? $"'{path}' is damaged ({Listing.Count(lines.Count, "fault")}), expected a whole and sound LoRA; "
                + $"download or save it again:\n{Listing.Lines(lines)}"
            : $"'{path}' was not read, because strict reading refuses what it would leave out ({Listing.Count(lines.Count, "fault")}); "
                + $"expected a LoRA of known tensors only, or read it without strict:\n{Listing.Lines(lines)}");
    }

    private static string Line(LoraNote note, string name) => note.Kind switch
    {
        LoraNoteKind.Damaged when note.Reason == Missing => $"missing: {name}",
        LoraNoteKind.Damaged => $"damaged: {name} ({note.Reason})",
        LoraNoteKind.Unknown => $"unexpected: {name} ({note.Reason})",
        LoraNoteKind.Unsupported => $"unsupported: {name} ({note.Reason})",
        LoraNoteKind.Assumed => $"assumed: {name} ({note.Reason})",
        _ => $"not finite: {name} ({note.Reason})",
    };
}
