namespace LoraNotebooks.Models.Language;

/// <summary>What the tensors of a text encoder take; mirrors <see cref="ClipTextModel"/>.</summary>
/// <param name="config">The architecture.</param>
/// <param name="ledger">Where tensors are noted.</param>
internal sealed class ClipTextWalk(ClipTextConfig config, TensorLedger ledger) : NetworkWalk(ledger)
{
    private const string Prefix = "text_model.encoder.layers";

    private double _rows;
    private double _scores;

    /// <summary>The hidden states of texts.</summary>
    /// <param name="texts">N.</param>
    /// <param name="tokens">T.</param>
    public void Run(int texts, int tokens)
    {
        _rows = (double)texts * tokens;
        _scores = _rows * tokens * config.NumAttentionHeads;
        using var scope = Ledger.NewScope();
        var x = Ledger.Input(_rows * config.HiddenSize);
        for (var i = 0; i < config.NumHiddenLayers; i++)
        {
            x = Layer($"{Prefix}.{i}", x);
        }

        x = Norm("text_model.final_layer_norm", x);
        if (config.HasProjection)
        {
            // The state at the end of each text, projected.
            Linear("text_projection", Ledger.Make((double)texts * config.HiddenSize, x), texts, config.ProjectionDim);
        }
    }

    private LedgerEntry Layer(string path, LedgerEntry x)
    {
        using var scope = Ledger.NewScope();
        x = Ledger.Make(x.Numbers, x, Attention($"{path}.self_attn", Norm($"{path}.layer_norm1", x)));
        return scope.Out(Ledger.Make(x.Numbers, x, Mlp($"{path}.mlp", Norm($"{path}.layer_norm2", x))));
    }

    /// <summary>Scores are stored: with 77 tokens they are small. Splitting into heads copies.</summary>
    private LedgerEntry Attention(string path, LedgerEntry x)
    {
        using var scope = Ledger.NewScope();
        var (q, k, v) = (Heads("q_proj"), Heads("k_proj"), Heads("v_proj"));
        var weights = Ledger.Make(_scores, Ledger.MakeSaving(_scores, q, k));
        var attended = Ledger.MakeSaving(q.Numbers, weights, v);
        return scope.Out(Linear($"{path}.out_proj", Ledger.Make(attended.Numbers, attended), _rows, config.HiddenSize));

        LedgerEntry Heads(string name)
        {
            var tokens = Linear($"{path}.{name}", x, _rows, config.HiddenSize);
            return Ledger.Make(tokens.Numbers, tokens);
        }
    }

    private LedgerEntry Mlp(string path, LedgerEntry x)
    {
        using var scope = Ledger.NewScope();
        var h = Linear($"{path}.fc1", x, _rows, config.IntermediateSize);
        var activated = config.HiddenAct == "quick_gelu" ? Gated(h) : Activation(h);
        return scope.Out(Linear($"{path}.fc2", activated, _rows, config.HiddenSize));
    }

    /// <summary>x·σ(1.702·x).</summary>
    private LedgerEntry Gated(LedgerEntry x)
    {
        var gate = Ledger.Make(x.Numbers, Ledger.Make(x.Numbers, x));
        return Ledger.MakeSaving(x.Numbers, x, gate);
    }
}
