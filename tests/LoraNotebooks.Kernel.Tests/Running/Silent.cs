using LoraNotebooks.Kernel.Running;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>Shows nothing and remembers which cells were named.</summary>
internal sealed class Silent : IRunProgress
{
    public List<string> Cells { get; } = [];

    public void NotebookStarted(string path, int cells)
    {
    }

    public void CellStarted(int number, int cells, string title) => Cells.Add($"{number}/{cells} {title}");

    public void CellSkipped(int number, int cells, string title) => Cells.Add($"skipped {number}/{cells}");

    public void Output(string text, bool isError)
    {
    }

    public void Status(string text)
    {
    }

    public void CellEnded(bool succeeded, TimeSpan elapsed)
    {
    }

    public void NotebookEnded(RunOutcome outcome, TimeSpan elapsed)
    {
    }
}
