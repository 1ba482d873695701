using LoraNotebooks.Tests.Models;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>Bad readers of each kind: the measurement that the search stands on finds them.</summary>
public sealed class AttemptTests
{
    private const int Large = 100 << 20;

    [Fact]
    public void Fault_ReaderThatWaits_IsItsTime() => Check(" s", static _ => Thread.Sleep(1_100));

    [Fact]
    public void Fault_ManagedMemory_IsFound() => Check("MB of memory", static _ => GC.KeepAlive(new byte[Large]));

    [Fact]
    public void Fault_NativeMemory_IsFound() => Check("MB of memory", static _ => ones(Large, ScalarType.Byte).Dispose());

    [Fact]
    public void Fault_TensorThatStays_IsFound()
    {
        using var scope = NewDisposeScope();
        Check("left 1 tensors", static _ => zeros(1));
    }

    [Fact]
    public void Fault_FileThatStaysOpen_IsFound()
    {
        FileStream? stream = null;
        Check("left the file open", folder => stream ??= File.OpenRead(Path.Combine(folder, "file")));
        stream!.Dispose();
    }

    [Fact]
    public void Fault_OtherException_IsFound() => Check("not documented: System.IndexOutOfRange", static _ => throw new IndexOutOfRangeException("expected"));

    [Fact]
    public void Fault_MessageThatHelpsNobody_IsFound() =>
        Check("says nothing of what would be right", static _ => throw new InvalidDataException("It is bad."));

    [Fact]
    public void Fault_MessageWithoutEnd_IsFound() =>
        Check("the message has 5008 characters", static _ => throw new InvalidDataException("expected" + new string('x', 5_000)));

    [Fact]
    public void Fault_ClearError_IsNone() => Check(null, static _ => throw new InvalidDataException("Got a, expected b."));

    private static void Check(string? expected, Action<string> read)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.In("file"), "{}");
        var target = new FuzzTarget("bad", folder.Path, "file", static (_, bytes) => bytes, read, 1);
        Attempt.GiveMemoryBack();
        var fault = Attempt.Run(target, folder.In("file"), size: 2).Fault(target, size: 2);
        if (expected is null)
        {
            Assert.Null(fault);
        }
        else
        {
            Assert.Contains(expected, fault, StringComparison.Ordinal);
        }
    }
}
