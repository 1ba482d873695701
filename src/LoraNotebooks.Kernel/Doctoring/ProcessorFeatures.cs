using System.Runtime.InteropServices;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>Which processor this is, and the vector instructions that decide how fast training is.</summary>
internal static class ProcessorFeatures
{
    /// <summary>What this processor has.</summary>
    public static Check Check() => Check(Processor.Current, RuntimeInformation.ProcessArchitecture);

    /// <summary>What a processor has.</summary>
    internal static Check Check(Processor processor, Architecture architecture)
    {
        var found = $"{processor}: {(processor.Instructions.Count > 0 ? string.Join(", ", processor.Instructions) : "no vector instructions")}";
        return architecture == Architecture.Arm64 || processor.Instructions.Contains("AVX2")
            ? new Check("Processor", Health.Ok, found)
            : new Check("Processor", Health.Warn, found,
                "Training works, but several times slower than on a processor with AVX2. In a virtual machine, pass the host's processor through.");
    }
}
