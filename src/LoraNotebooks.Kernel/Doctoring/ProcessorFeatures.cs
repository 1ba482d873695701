using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>The vector instructions that decide how fast training is.</summary>
internal static class ProcessorFeatures
{
    private const int ExtendedFeatures = 7;   // CPUID leaf; Intel SDM vol. 2A, table 3-8
    private const int Avx512Bf16Bit = 5;      // leaf 7, subleaf 1, EAX
    private const int AmxBf16Bit = 22;        // leaf 7, subleaf 0, EDX

    /// <summary>What this processor has.</summary>
    public static Check Check()
    {
        if (RuntimeInformation.ProcessArchitecture == Architecture.Arm64)
        {
            return new Check("Processor", Health.Ok, $"Arm64{(AdvSimd.IsSupported ? ", NEON" : "")}{(Dp.IsSupported ? ", dot product" : "")}");
        }

        List<string> found = [];
        AddIf(found, Avx2.IsSupported, "AVX2");
        AddIf(found, Fma.IsSupported, "FMA");
        AddIf(found, Avx512F.IsSupported, "AVX512F");
        AddIf(found, HasBit(1, registers => registers.Eax, Avx512Bf16Bit), "AVX512-BF16");
        AddIf(found, HasBit(0, registers => registers.Edx, AmxBf16Bit), "AMX-BF16");
        var names = found.Count > 0 ? string.Join(", ", found) : "none of AVX2, AVX512F, AVX512-BF16";
        return Avx2.IsSupported
            ? new Check("Processor", Health.Ok, names)
            : new Check("Processor", Health.Warn, names, "Training works, but several times slower than on a processor with AVX2. In a virtual machine, pass the host's processor through.");
    }

    private static bool HasBit(int subleaf, Func<(int Eax, int Ebx, int Ecx, int Edx), int> register, int bit) =>
        X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= ExtendedFeatures && (register(X86Base.CpuId(ExtendedFeatures, subleaf)) >> bit & 1) == 1;

    private static void AddIf(List<string> list, bool condition, string name)
    {
        if (condition)
        {
            list.Add(name);
        }
    }
}
