using System.Runtime.InteropServices;
using LoraNotebooks.Kernel.Doctoring;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Tests.Doctoring;

public sealed class DoctorTests
{
    [Fact]
    public void Examine_ThisMachine_LooksAtEverythingAndAdvisesWhereSomethingIsMissing()
    {
        var checks = Doctor.Examine(measure: true).ToArray();
        Assert.Equal(["System", ".NET SDK", "Memory", "Processor", "libtorch", "Threads", "Device", "Speed fp32", "Speed bf16", "Base model"], checks.Select(check => check.Name));
        Assert.All(checks, check => Assert.NotEmpty(check.Found));
        Assert.All(checks.Where(check => check.Health != Health.Ok), check => Assert.NotEmpty(check.Advice));
        Assert.DoesNotContain(checks, check => check.Health == Health.Fail && check.Name is "libtorch" or ".NET SDK" && check.Health == Health.Fail);
        Assert.StartsWith($"{Processor.Current}: ", checks.Single(check => check.Name == "Processor").Found, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Architecture.X64, new[] { "AVX2", "FMA" }, Health.Ok, "p (family 25, model 1): AVX2, FMA")]
    [InlineData(Architecture.X64, new[] { "SSE4.1", "AVX" }, Health.Warn, "p (family 25, model 1): SSE4.1, AVX")]
    [InlineData(Architecture.X64, new string[0], Health.Warn, "p (family 25, model 1): no vector instructions")]
    [InlineData(Architecture.Arm64, new[] { "NEON" }, Health.Ok, "p (family 25, model 1): NEON")]
    public void Check_Processor_NamesItAndWarnsWithoutAvx2(Architecture architecture, string[] instructions, Health health, string found)
    {
        var check = ProcessorFeatures.Check(new Processor { Vendor = "v", Name = "p", Family = 25, Model = 1, Instructions = instructions }, architecture);
        Assert.Equal((health, found, health != Health.Ok), (check.Health, check.Found, check.Advice.Length > 0));
    }
}
