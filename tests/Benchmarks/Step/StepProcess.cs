using System.Diagnostics;
using System.Globalization;

namespace Benchmarks.Step;

/// <summary>A process that has a case's network in memory and does what it is asked (<see cref="StepWork.Answer"/>).</summary>
internal sealed class StepProcess : IDisposable
{
    private readonly Process _process;

    /// <summary>Starts it and waits until the network is there.</summary>
    /// <param name="start">The program, and what it is told before the case.</param>
    /// <param name="of">The case.</param>
    public StepProcess(IReadOnlyList<string> start, StepCase of)
    {
        var info = new ProcessStartInfo(start[0]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (var argument in start.Skip(1).Concat(of.Arguments))
        {
            info.ArgumentList.Add(argument);
        }

        _process = Process.Start(info)!;
        while (Read() != "ready")
        {
        }
    }

    /// <summary>Asks for a number.</summary>
    public double Ask(string question) => double.Parse(AskText(question), CultureInfo.InvariantCulture);

    /// <summary>Asks for a line.</summary>
    public string AskText(string question)
    {
        _process.StandardInput.WriteLine(question);
        return Read();
    }

    /// <summary>Ends it.</summary>
    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
    }

    private string Read() => _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException("The measuring process has ended; its message stands above.");
}
