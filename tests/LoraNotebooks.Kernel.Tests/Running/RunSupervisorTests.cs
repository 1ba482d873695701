using System.Globalization;
using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

public sealed class RunSupervisorTests : IDisposable
{
    private const string Record = "LORANOTEBOOKS_RUN_RECORD";
    private const string Parent = "LORANOTEBOOKS_RUN_PARENT";

    public void Dispose() => RunRecord.File = null;

    [Theory]
    [InlineData(null, null, false)]
    [InlineData("record.json", null, false)]
    [InlineData("record.json", "no number", false)]
    [InlineData(null, "own", false)]
    [InlineData("record.json", "own", true)]
    public void TakeRole_Environment_SaysWhoseChildThisIsAndTellsNobodyElse(string? record, string? parent, bool expected)
    {
        Environment.SetEnvironmentVariable(Record, record);
        Environment.SetEnvironmentVariable(Parent, parent == "own" ? Environment.ProcessId.ToString(CultureInfo.InvariantCulture) : parent);
        Assert.Equal(expected, RunSupervisor.TakeRole());
        Assert.Equal(expected ? "record.json" : null, RunRecord.File);
        Assert.Null(Environment.GetEnvironmentVariable(Record));
        Assert.Null(Environment.GetEnvironmentVariable(Parent));
    }

    [Theory]
    [InlineData(134, "aborted: a stack overflow, Environment.FailFast or native code; the lines above say more")]
    [InlineData(137, "killed: often because memory ran out")]
    [InlineData(139, "a fault in native code: it reached for memory that is not its own")]
    [InlineData(77, "exit code 77")]
    public void Describe_ExitCode_SaysWhatHappened(int exit, string expected) =>
        Assert.Equal(
            OperatingSystem.IsWindows() ? string.Create(CultureInfo.InvariantCulture, $"exit code 0x{exit:X8}") : expected,
            RunSupervisor.Describe(exit));
}
