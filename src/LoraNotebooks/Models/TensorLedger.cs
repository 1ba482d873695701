namespace LoraNotebooks.Models;

/// <summary>
/// Counts the memory of the tensors that a network makes, without making them. As in the networks themselves, a scope frees at its end what was made
/// in it, except what it hands out and what the backward pass will read. A walk over an architecture mirrors its forward, operation by operation.
/// </summary>
/// <param name="numberSize">The bytes of a number.</param>
/// <param name="recordsGradients">Whether operations on what is trained keep what their backward pass reads.</param>
internal sealed class TensorLedger(int numberSize, bool recordsGradients)
{
    private readonly Stack<List<LedgerEntry>> _scopes = new([[]]);
    private double _live;

    /// <summary>The most bytes that lived at once.</summary>
    public double Peak { get; private set; }

    /// <summary>The bytes that the backward pass will read.</summary>
    public double Saved { get; private set; }

    /// <summary>The bytes of the largest tensor.</summary>
    public double Largest { get; private set; }

    /// <summary>The bytes of a number.</summary>
    public int NumberSize => numberSize;

    /// <summary>Whether what the backward pass reads is kept.</summary>
    public bool RecordsGradients => recordsGradients;

    /// <summary>A tensor that comes from outside.</summary>
    /// <param name="numbers">How many numbers it has.</param>
    /// <param name="isTrained">Whether gradients reach it.</param>
    public LedgerEntry Input(double numbers, bool isTrained = false) => Add(numbers, recordsGradients && isTrained);

    /// <summary>The result of an operation whose backward pass reads nothing: a sum, a copy, a product with a frozen weight.</summary>
    public LedgerEntry Make(double numbers, params ReadOnlySpan<LedgerEntry> inputs) => Add(numbers, AnyNeedsGradient(inputs));

    /// <summary>The result of an operation whose backward pass reads its inputs: a norm, an activation, a convolution.</summary>
    public LedgerEntry MakeSaving(double numbers, params ReadOnlySpan<LedgerEntry> inputs)
    {
        var result = Add(numbers, AnyNeedsGradient(inputs));
        if (result.NeedsGradient)
        {
            Save(inputs);
        }

        return result;
    }

    /// <summary>The result of an operation with trained weights, whose backward pass reads its inputs whether or not gradients reach them.</summary>
    public LedgerEntry MakeTrained(double numbers, params ReadOnlySpan<LedgerEntry> inputs)
    {
        var result = Add(numbers, recordsGradients);
        if (recordsGradients)
        {
            Save(inputs);
        }

        return result;
    }

    /// <summary>Notes that the backward pass will read tensors.</summary>
    public void Save(params ReadOnlySpan<LedgerEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (!entry.IsSaved)
            {
                entry.IsSaved = true;
                Saved += entry.Bytes;
            }
        }
    }

    /// <summary>A function's scope.</summary>
    public Scope NewScope()
    {
        _scopes.Push([]);
        return new Scope(this);
    }

    private static bool AnyNeedsGradient(ReadOnlySpan<LedgerEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.NeedsGradient)
            {
                return true;
            }
        }

        return false;
    }

    private LedgerEntry Add(double numbers, bool needsGradient)
    {
        var entry = new LedgerEntry(numbers, numbers * numberSize) { NeedsGradient = needsGradient };
        _scopes.Peek().Add(entry);
        _live += entry.Bytes;
        (Peak, Largest) = (Math.Max(Peak, _live), Math.Max(Largest, entry.Bytes));
        return entry;
    }

    private void Close()
    {
        foreach (var entry in _scopes.Pop())
        {
            _live -= entry.IsSaved ? 0 : entry.Bytes;
        }
    }

    /// <summary>A scope; disposing it frees.</summary>
    internal readonly struct Scope(TensorLedger ledger) : IDisposable
    {
        /// <summary>Moves a tensor of this scope to the one around it.</summary>
        public LedgerEntry Out(LedgerEntry entry)
        {
            var own = ledger._scopes.Pop();
            if (own.Remove(entry))
            {
                ledger._scopes.Peek().Add(entry);
            }

            ledger._scopes.Push(own);
            return entry;
        }

        public void Dispose() => ledger.Close();
    }
}

/// <summary>A tensor in a <see cref="TensorLedger"/>.</summary>
/// <param name="numbers">How many numbers it has.</param>
/// <param name="bytes">Its size.</param>
internal sealed class LedgerEntry(double numbers, double bytes)
{
    public double Numbers => numbers;

    public double Bytes => bytes;

    /// <summary>Whether gradients flow through it.</summary>
    public bool NeedsGradient { get; set; }

    /// <summary>Whether the backward pass will read it.</summary>
    public bool IsSaved { get; set; }
}
