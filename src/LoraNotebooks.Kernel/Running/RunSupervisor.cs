using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Runs notebooks in a process of their own, so that a crash which nothing can catch still leaves results.</summary>
/// <remarks>
/// Such are a stack overflow, native code, no memory. The child has this process's
/// terminal. Signals are handed on; where this process dies, the child ends its run.
/// </remarks>
internal static class RunSupervisor
{
    private const string RecordVariable = "LORANOTEBOOKS_RUN_RECORD";
    private const string ParentVariable = "LORANOTEBOOKS_RUN_PARENT";
    private const int Interrupt = 2;
    private const int Terminate = 15;

    /// <summary>The exit codes with which a run ends by itself, or by a signal that it was given.</summary>
    private static readonly int[] Orderly = [.. Enum.GetValues<RunExit>().Select(exit => (int)exit), 128 + Terminate];

    /// <summary>In a child: takes what its parent told it out of the environment, so that programs started by cells do not take it for theirs.</summary>
    /// <returns>Whether this is a child.</returns>
    public static bool TakeRole()
    {
        var (record, parent) = (Environment.GetEnvironmentVariable(RecordVariable), Environment.GetEnvironmentVariable(ParentVariable));
        Environment.SetEnvironmentVariable(RecordVariable, null);
        Environment.SetEnvironmentVariable(ParentVariable, null);
        if (record is null || !int.TryParse(parent, CultureInfo.InvariantCulture, out var id))
        {
            return false;
        }

        RunRecord.File = record;
        _ = ParentProcess.WaitForEndAsync(id, CancellationToken.None).ContinueWith(
            static _ => Environment.Exit((int)RunExit.Canceled), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        return true;
    }

    /// <summary>Runs this program with the same arguments as a child, and finishes its results if it crashes.</summary>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(string[] arguments)
    {
        var folder = Directory.CreateTempSubdirectory("lora-notebooks-run-");
        var record = Path.Combine(folder.FullName, "run.json");

        // By the very host that started this process: the executable, or dotnet with the assembly.
        var host = Environment.ProcessPath ?? DotnetHost.Path;
        string[] program = Path.GetFileNameWithoutExtension(host) == "dotnet" ? [typeof(RunSupervisor).Assembly.Location] : [];
        var start = new ProcessStartInfo(host, [.. program, .. arguments]);
        start.Environment[RecordVariable] = record;
        start.Environment[ParentVariable] = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        try
        {
            using var child = Process.Start(start)!;
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => HandOn(context, child, Interrupt));
            using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => HandOn(context, child, Terminate));
            await child.WaitForExitAsync().ConfigureAwait(false);
            return Orderly.Contains(child.ExitCode) ? child.ExitCode : Finish(record, child.ExitCode);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static int Finish(string record, int exit)
    {
        var terminal = new TerminalProgress();
        var reason = $"The process crashed ({Describe(exit)})";
        if (RunRecord.Finish(record, reason) is not { } outcome)
        {
            terminal.Refused(reason + " before a cell ran.");
            return (int)RunExit.CellFailed;
        }

        terminal.NotebookEnded(outcome, DateTime.Now - Process.GetCurrentProcess().StartTime);
        return (int)outcome.Exit;
    }

    /// <summary>What an exit code that no run has says of its end.</summary>
    internal static string Describe(int exit) => OperatingSystem.IsWindows()
        ? exit == unchecked((int)0xC00000FD) ? "a stack overflow" : string.Create(CultureInfo.InvariantCulture, $"exit code 0x{exit:X8}")
        : exit switch
        {
            128 + 6 => "aborted: a stack overflow, Environment.FailFast or native code; the lines above say more",
            128 + 9 => "killed: often because memory ran out",
            128 + 11 => "a fault in native code: it reached for memory that is not its own",
            _ => string.Create(CultureInfo.InvariantCulture, $"exit code {exit}"),
        };

    private static void HandOn(PosixSignalContext context, Process child, int signal)
    {
        // Ctrl+C in a terminal has reached the child as well; asking twice does no harm.
        context.Cancel = true;
        if (!OperatingSystem.IsWindows() && !child.HasExited)
        {
            _ = JupyterServer.Kill(child.Id, signal);
        }
    }
}
