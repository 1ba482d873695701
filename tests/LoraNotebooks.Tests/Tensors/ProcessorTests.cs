using System.Buffers.Binary;
using System.Text;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Tensors;

public sealed class ProcessorTests
{
    [Theory]
    [InlineData("AuthenticAMD", 0x00B00F21, "AMD EPYC", "AMD EPYC (family 26, model 2, stepping 1)")]
    [InlineData(
        "GenuineIntel",
        0x000806F8,
        "Intel(R) Xeon(R)  Platinum 8481C CPU @ 2.70GHz",
        "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz (family 6, model 143, stepping 8)")]
    [InlineData("GenuineIntel", 0x00000663, "", "GenuineIntel (family 6, model 6, stepping 3)")]
    [InlineData("AuthenticAMD", 0x00000580, "old", "old (family 5, model 8, stepping 0)")]
    public void FromCpuId_Answers_AreNameFamilyModelAndStepping(string vendor, int signature, string brand, string expected)
    {
        var bytes = new byte[48];
        Encoding.ASCII.GetBytes(brand, bytes);
        int At(int offset) => BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(offset));
        int OfVendor(int offset) => BinaryPrimitives.ReadInt32LittleEndian(Encoding.ASCII.GetBytes(vendor).AsSpan(offset));

        var processor = Processor.FromCpuId((leaf, _) => unchecked((uint)leaf) switch
        {
            0 => (1, OfVendor(0), OfVendor(8), OfVendor(4)),
            1 => (signature, 0, 0, 0),
            0x80000000 => (unchecked((int)0x80000004) - (brand.Length == 0 ? 1 : 0), 0, 0, 0),
            >= 0x80000002 and <= 0x80000004 and var part =>
                ((Func<int, (int, int, int, int)>)(start => (At(start), At(start + 4), At(start + 8), At(start + 12))))((int)(part - 0x80000002) * 16),
            var other => throw new InvalidOperationException($"leaf {other:X} was asked for"),
        });

        Assert.Equal((vendor, expected), (processor.Vendor, processor.ToString()));
    }

    [Fact]
    public void FromCpuId_ProcessorWithoutNumbers_IsItsMakers()
    {
        var processor = Processor.FromCpuId(static (leaf, _) => leaf == 0 ? (0, 0x68747541, 0x444D4163, 0x69746E65) : (0, 0, 0, 0));

        Assert.Equal(
            ("AuthenticAMD", "AuthenticAMD", null, null, null),
            (processor.Vendor, processor.ToString(), processor.Family, processor.Model, processor.Stepping));
        Assert.Empty(processor.Instructions);
    }

    // Base family and model have four bits each; the further ones count where the family is 6 or 15.
    [Theory]
    [InlineData(0x00FF0F00, 15 + 15, 240)]
    [InlineData(0x0FF00F00, 15 + 255, 0)]
    [InlineData(0x000F0E70, 14, 7)]
    [InlineData(0x0FFF06F1, 6, 255)]
    public void FromCpuId_Signature_IsFamilyAndModel(int signature, int family, int model)
    {
        var processor = Processor.FromCpuId((leaf, _) => leaf == 0 ? (1, 0, 0, 0) : leaf == 1 ? (signature, 0, 0, 0) : (0, 0, 0, 0));

        Assert.Equal((family, model, signature & 15), (processor.Family, processor.Model, processor.Stepping));
    }

    [Theory]
    [InlineData("CPU part\t: 0XD4b\nCPU revision\t: 12\nCPU architecture: AArch64", null, 0xD4B, 12)]
    [InlineData("cpu part: 13\ncpu part: 14\nCPU revision: -1\nno colon", null, 13, null)]
    [InlineData("CPU part: 0x\nCPU architecture: 8: 9", null, null, null)]
    public void FromCpuInfo_Numbers_AreReadWhereTheyAreSome(string text, int? family, int? model, int? stepping)
    {
        var processor = Processor.FromCpuInfo(text);

        Assert.Equal((family, model, stepping), (processor.Family, processor.Model, processor.Stepping));
    }

    [Theory]
    [InlineData("Intel64 Family 6 Model 8F Stepping 8, GenuineIntel", "GenuineIntel", "Intel64 (family 6, model 143, stepping 8)")]
    [InlineData("ARMv8  (64-bit) Family 8 Model D4B Revision A,", "unknown", "ARMv8 (64-bit) (family 8, model 3403, stepping 10)")]
    [InlineData("ARMv8 Family 8 Model D4B Revision 0", "unknown", "ARMv8 (family 8, model 3403, stepping 0)")]
    public void FromIdentifier_Texts_AreTakenApart(string text, string vendor, string expected)
    {
        var processor = Processor.FromIdentifier(text);

        Assert.Equal((vendor, expected), (processor.Vendor, processor.ToString()));
    }

    [Theory]
    [InlineData(null, null, null, "p")]
    [InlineData(1, null, null, "p (family 1)")]
    [InlineData(null, 2, null, "p (model 2)")]
    [InlineData(1, 2, 3, "p (family 1, model 2, stepping 3)")]
    public void ToString_Numbers_AreThoseThatAreKnown(int? family, int? model, int? stepping, string expected) =>
        Assert.Equal(expected, $"{new Processor { Vendor = "v", Name = "p", Family = family, Model = model, Stepping = stepping }}");

    [Theory]
    [InlineData(null, "default")]
    [InlineData("", "default")]
    [InlineData("AVX2", "AVX2")]
    public void Kernels_Variable_BoundsThem(string? bound, string expected)
    {
        var before = Environment.GetEnvironmentVariable("ONEDNN_MAX_CPU_ISA");
        Environment.SetEnvironmentVariable("ONEDNN_MAX_CPU_ISA", bound);
        try
        {
            Assert.Equal(expected, Processor.Kernels());
        }
        finally
        {
            Environment.SetEnvironmentVariable("ONEDNN_MAX_CPU_ISA", before);
        }
    }

    [Fact]
    public void ToString_SeveralThreads_AreCounted() => Assert.Equal(
        "p, 2 threads, libtorch 2.10.0, kernels: default",
        $"{new Machine { Processor = new() { Vendor = "v", Name = "p" }, LibTorch = "2.10.0", Threads = 2, Kernels = "default" }}");

    [Fact]
    public void FromCpuInfo_ArmServer_TellsImplementerAndPart()
    {
        var processor = Processor.FromCpuInfo(
            "processor\t: 0\nBogoMIPS\t: 2100.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n\n"
                + "processor\t: 1\nCPU part\t: 0xd41\n");

        Assert.Equal(("0x41", "Arm64 of implementer 0x41 (family 8, model 3392, stepping 1)"), (processor.Vendor, processor.ToString()));
        Assert.Equal("Arm64 of implementer unknown", Processor.FromCpuInfo("").ToString());
        Assert.Equal("Cortex-A76", Processor.FromCpuInfo("model name : Cortex-A76").ToString());
    }

    [Fact]
    public void FromIdentifier_WindowsOnArm_TellsTheSame()
    {
        var processor = Processor.FromIdentifier("ARMv8 (64-bit) Family 8 Model D4B Revision 1, Qualcomm Technologies Inc");

        Assert.Equal(("Qualcomm Technologies Inc", "ARMv8 (64-bit) (family 8, model 3403, stepping 1)"), (processor.Vendor, processor.ToString()));
        Assert.Equal(("unknown", "something else"), (Processor.FromIdentifier("something else").Vendor, Processor.FromIdentifier("something else").ToString()));
        Assert.Equal("unknown", Processor.FromIdentifier("").Name);
    }

    [Fact]
    public void Current_ThisProcessor_IsWhatTheSystemSays()
    {
        var processor = Processor.Current;

        Assert.NotEmpty(processor.Name);
        Assert.Equal(processor.Instructions.Distinct(), processor.Instructions);
        if (OperatingSystem.IsLinux() && System.Runtime.Intrinsics.X86.X86Base.IsSupported)
        {
            var facts = File.ReadLines("/proc/cpuinfo").TakeWhile(static line => line.Length > 0)
                .Select(static line => line.Split(':', 2))
                .ToDictionary(static pair => pair[0].Trim(), static pair => pair[1].Trim());
            Assert.Equal(facts["vendor_id"], processor.Vendor);
            Assert.Equal((facts["cpu family"], facts["model"], facts["stepping"]), ($"{processor.Family}", $"{processor.Model}", $"{processor.Stepping}"));

            // Not the name: a virtual machine may answer with one of its own, where the system says that of the real processor.
            var flags = facts["flags"].Split(' ');
            Assert.Equal(flags.Contains("avx512_bf16"), processor.Instructions.Contains("AVX512-BF16"));
            Assert.Equal(flags.Contains("amx_bf16"), processor.Instructions.Contains("AMX-BF16"));
        }
    }

    [Fact]
    public void Machine_Here_TellsLibTorchThreadsAndKernels()
    {
        var machine = Machine.Here();

        Assert.True(NativeRuntime.IsLoaded);
        Assert.Equal(Processor.Current, machine.Processor);
        Assert.Equal(NativeRuntime.LibTorchVersion, machine.LibTorch);
        Assert.Equal(machine, Machine.Here(loadLibTorch: false));
        Assert.Equal((get_num_threads(), CheckedConvolution.Describe()), (machine.Threads, machine.Kernels));
        Assert.Equal($"{machine}", Machine.Describe());
        Assert.Equal(
            "p (family 1), 1 thread, libtorch 2, kernels: AVX2",
            $"{new Machine { Processor = new() { Vendor = "v", Name = "p", Family = 1 }, LibTorch = "2", Threads = 1, Kernels = "AVX2" }}");
        Assert.Equal("p", $"{new Machine { Processor = new() { Vendor = "v", Name = "p" } }}");
    }
}
