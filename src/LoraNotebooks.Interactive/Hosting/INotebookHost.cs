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

    /// <summary>Cancelled when the running cell is asked to stop; never, where a host cannot stop cells.</summary>
    CancellationToken Cancellation => CancellationToken.None;

    /// <summary>Removes what the running cell has shown so far; does nothing where a host cannot.</summary>
    /// <param name="wait">Whether to wait for the next output, so that nothing flickers.</param>
    void Clear(bool wait = false)
    {
    }

    /// <summary>Lets the reader of the page stop something by a button of its own, while the cell goes on.</summary>
    /// <param name="stop">What the button does, on any thread.</param>
    /// <returns>The offer, good until it is disposed; null where a host has no way back from the page.</returns>
    /// <remarks>A display shows the button by carrying <see cref="StopOffer.Id"/> as content of type <see cref="MimeTypes.Stop"/>.</remarks>
    StopOffer? OfferStop(Action stop) => null;
}

/// <summary>A way back from the page to running code; <see cref="INotebookHost.OfferStop"/> makes it.</summary>
/// <param name="id">Names the offer in the page.</param>
/// <param name="withdraw">Ends the offer.</param>
public sealed class StopOffer(string id, Action withdraw) : IDisposable
{
    /// <summary>Names the offer in the page.</summary>
    public string Id { get; } = id;

    /// <summary>Ends the offer: a button does nothing from here on.</summary>
    public void Dispose() => withdraw();
}

/// <summary>An output that was shown and can be replaced in place; <see cref="INotebookHost.Display"/> makes it.</summary>
/// <remarks>Implementations accept calls from any thread, also after the cell that made the display has ended.</remarks>
public interface IDisplayHandle
{
    /// <summary>Replaces the whole content of the output.</summary>
    void Update(MimeBundle bundle);
}
