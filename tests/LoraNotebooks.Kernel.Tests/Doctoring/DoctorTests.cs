using LoraNotebooks.Kernel.Doctoring;

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
    }
}
