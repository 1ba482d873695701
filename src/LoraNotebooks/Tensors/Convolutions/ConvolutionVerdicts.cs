namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>What was found about this machine's kernels, kept in a file, so that it is looked for once and decided always alike.</summary>
/// <param name="path">The file, whose name tells processor, library and settings; <see langword="null"/> keeps nothing.</param>
internal sealed class ConvolutionVerdicts(string? path)
{
    private readonly Lock _gate = new();
    private Content? _content;

    /// <summary>What the self-check found here, if it ran before.</summary>
    public ConvolutionFindings? Findings => Read().Findings;

    /// <summary>The verdict on a case, if there is one.</summary>
    public ConvolutionWay? Find(ConvolutionCase of) => Read().Ways.TryGetValue(of.ToString(), out var way) ? way : null;

    /// <summary>Keeps what the self-check found.</summary>
    public void Keep(ConvolutionFindings findings)
    {
        if (Findings is null)
        {
            Write(old => old with { Findings = findings });
        }
    }

    /// <summary>Keeps the verdict on a case.</summary>
    public void Keep(ConvolutionCase of, ConvolutionWay way) => Write(old => old with { Ways = new(old.Ways) { [of.ToString()] = way } });

    private Content Read()
    {
        lock (_gate)
        {
            return _content ??= FromFile();
        }
    }

    private void Write(Func<Content, Content> change)
    {
        lock (_gate)
        {
            // Another process may have written other verdicts in the meantime. Lost ones are found again.
            _content = change(_content ?? FromFile());
            MachineFile.Write(path, _content);
        }
    }

    private Content FromFile() => MachineFile.Read<Content>(path) is { Ways: not null } kept ? kept : new Content(null, []);

    private sealed record Content(ConvolutionFindings? Findings, Dictionary<string, ConvolutionWay> Ways);
}
