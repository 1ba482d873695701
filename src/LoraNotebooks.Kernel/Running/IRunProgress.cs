namespace LoraNotebooks.Kernel.Running;

/// <summary>Follows a run of notebooks. Calls come from any thread.</summary>
public interface IRunProgress
{
    /// <summary>A notebook begins.</summary>
    void NotebookStarted(string path, int cells);

    /// <summary>A code cell begins.</summary>
    void CellStarted(int number, int cells, string title);

    /// <summary>A code cell is tagged to be left out; its stored outputs stay.</summary>
    void CellSkipped(int number, int cells, string title);

    /// <summary>The cell wrote text to a console stream.</summary>
    void Output(string text, bool isError);

    /// <summary>What is going on right now: the text form of a live display, or packages being restored.</summary>
    void Status(string text);

    /// <summary>The cell ended.</summary>
    /// <param name="succeeded">Whether the run goes on: also after an error in a cell that may fail.</param>
    /// <param name="elapsed">Wall-clock time.</param>
    void CellEnded(bool succeeded, TimeSpan elapsed);

    /// <summary>The notebook ended and its results were written.</summary>
    void NotebookEnded(RunOutcome outcome, TimeSpan elapsed);
}
