using System.Runtime.InteropServices;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Tests.Tensors;

public sealed partial class NativeSettingsTests
{
    [Fact]
    public void Silence_NnpackDoesNotWork_IsAskedQuietlyAndSwitchedOff()
    {
        var level = 1;
        var heard = -1;
        var isOff = false;

        Assert.False(NativeSettings.Silence(() => Ask(false, level, ref heard), () => isOff = true, ref level));

        Assert.Equal(2, heard);
        Assert.Equal(1, level);
        Assert.True(isOff);
    }

    [Fact]
    public void Silence_NnpackWorks_StaysOn()
    {
        var level = 3;
        var heard = -1;

        Assert.True(NativeSettings.Silence(() => Ask(true, level, ref heard), () => throw new InvalidOperationException("switched off"), ref level));

        Assert.Equal(3, heard);
    }

    [Fact]
    public void HandOverVariables_SetInThisProcess_ReachTheCEnvironment()
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        var before = Environment.GetEnvironmentVariable(NativeSettings.InstructionVariable);
        try
        {
            // libtorch has read it long before, so this changes no kernel.
            Environment.SetEnvironmentVariable(NativeSettings.InstructionVariable, "SSE41");
            NativeSettings.HandOverVariables();
            Assert.Equal("SSE41", Marshal.PtrToStringUTF8(getenv(NativeSettings.InstructionVariable)));
        }
        finally
        {
            Environment.SetEnvironmentVariable(NativeSettings.InstructionVariable, before);
        }
    }

    [Fact]
    public void Load_OnLinuxWithGlibc_KeepsMemoryUnlessSwitchedOff()
    {
        if (OperatingSystem.IsLinux())
        {
            var isSwitchedOff = Environment.GetEnvironmentVariable(NativeSettings.AllocatorVariable) == "system";
            Assert.Equal(!isSwitchedOff && RuntimeInformation.RuntimeIdentifier.Contains("musl") is false, NativeRuntime.Load().KeepsMemory);
        }
    }

    private static bool Ask(bool answer, int level, ref int heard)
    {
        heard = level;
        return answer;
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint getenv(string name);
}
