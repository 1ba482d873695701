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
    [InlineData("GenuineIntel", 0x000806F8, "Intel(R) Xeon(R)  Platinum 8481C CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz (family 6, model 143, stepping 8)")]
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
            >= 0x80000002 and <= 0x80000004 and var part => ((Func<int, (int, int, int, int)>)(start => (At(start), At(start + 4), At(start + 8), At(start + 12))))((int)(part - 0x80000002) * 16),
            var other => throw new InvalidOperationException($"leaf {other:X} was asked for"),
        });

        Assert.Equal((vendor, expected), (processor.Vendor, processor.ToString()));
    }

    [Fact]
    public void FromCpuInfo_ArmServer_TellsImplementerAndPart()
    {
        var processor = Processor.FromCpuInfo("processor\t: 0\nBogoMIPS\t: 2100.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n\nprocessor\t: 1\nCPU part\t: 0xd41\n");

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
            var facts = File.ReadLines("/proc/cpuinfo").TakeWhile(static line => line.Length > 0).Select(static line => line.Split(':', 2)).ToDictionary(static pair => pair[0].Trim(), static pair => pair[1].Trim());
            Assert.Equal(facts["vendor_id"], processor.Vendor);
            Assert.Equal((facts["cpu family"], facts["model"], facts["stepping"]), ($"{processor.Family}", $"{processor.Model}", $"{processor.Stepping}"));
            Assert.Equal(facts["model name"].Replace("  ", " ", StringComparison.Ordinal), processor.Name);
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
        Assert.Equal((get_num_threads(), CheckedConvolution.Describe()), (machine.Threads, machine.Kernels));
        Assert.Equal($"{machine}", Machine.Describe());
        Assert.Equal("p (family 1), 1 thread, libtorch 2, kernels: AVX2", $"{new Machine { Processor = new() { Vendor = "v", Name = "p", Family = 1 }, LibTorch = "2", Threads = 1, Kernels = "AVX2" }}");
        Assert.Equal("p", $"{new Machine { Processor = new() { Vendor = "v", Name = "p" } }}");
    }
}
