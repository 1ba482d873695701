namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>How this process computes convolutions, for people: what the self-check found, and whether the way around is right.</summary>
public sealed record ConvolutionReport
{
    /// <summary>How many sample convolutions were computed, forward and backward.</summary>
    public required int Samples { get; init; }

    /// <summary>Those that libtorch computes wrong: sizes, and what is off by how much of the largest value.</summary>
    public required IReadOnlyList<string> Wrong { get; init; }

    /// <summary>Those that the toolkit computes wrong, too.</summary>
    public required IReadOnlyList<string> StillWrong { get; init; }

    /// <summary>The way that <see cref="CheckedConvolution.WayVariable"/> forces; <see langword="null"/> if none.</summary>
    public ConvolutionWay? Forced { get; init; }

    /// <summary>The limit of oneDNN's vector instructions, as ONEDNN_MAX_CPU_ISA sets it; <see langword="null"/> if none.</summary>
    public string? InstructionLimit { get; init; }

    /// <summary>Makes the report: takes what is known of libtorch's kernels, and computes the samples as the toolkit does.</summary>
    public static ConvolutionReport Make()
    {
        var engine = CheckedConvolution.Engine;
        var findings = engine.Findings;
        return new ConvolutionReport
        {
            Samples = findings.Samples,
            Wrong = findings.Wrong,
            StillWrong = ConvolutionCheck.Run(engine.Apply).Wrong,
            Forced = engine.Forced,
            InstructionLimit = NativeSettings.InstructionLimit,
        };
    }
}
