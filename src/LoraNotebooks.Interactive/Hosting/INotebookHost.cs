namespace LoraNotebooks.Interactive;

/// <summary>An object that draws itself: the last value of a cell, or the argument of <c>Display()</c>.</summary>
public interface IRichDisplay
{
    /// <summary>The object in every form that it has; text/plain is always among them.</summary>
    MimeBundle ToMimeBundle();
}

/// <summary>Where displays go: a kernel, a headless runner, another notebook program, a terminal.</summary>
/// <remarks>Implementations accept calls from any thread.</remarks>
public interface INotebookHost
{
    /// <summary>Shows a new output and returns a handle that can replace it later.</summary>
    IDisplayHandle Display(MimeBundle bundle);
}

/// <summary>An output that was shown and can be replaced in place; <see cref="INotebookHost.Display"/> makes it.</summary>
/// <remarks>Implementations accept calls from any thread, also after the cell that made the display has ended.</remarks>
public interface IDisplayHandle
{
    /// <summary>Replaces the whole content of the output.</summary>
    void Update(MimeBundle bundle);
}
