using System.Text.Json.Nodes;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace LoraNotebooks.Models.Language;

/// <summary>The frequencies of rotary position embeddings, and how they are stretched for longer texts than a model was first trained on.</summary>
/// <remarks>Source: transformers, modeling_rope_utils.py.</remarks>
public sealed record RotaryConfig
{
    internal const string Plain = "default";
    internal const string Linear = "linear";
    internal const string Llama3 = "llama3";

    /// <summary>θ, the base of the frequencies θ^(−2i/d), default 10000.</summary>
    public double Theta { get; init; } = 10000;

    /// <summary>
    /// <c>default</c>: as they are. <c>linear</c>: all divided by <see cref="Factor"/>. <c>llama3</c>: the slow ones divided by it, the fast ones as they are,
    /// with a slope between.
    /// </summary>
    public string Type { get; init; } = Plain;

    /// <summary>By how much texts grow longer, default 1.</summary>
    public double Factor { get; init; } = 1;

    /// <summary>llama3: frequencies that turn less often than this in <see cref="OriginalMaxPositionEmbeddings"/> are slow; default 1.</summary>
    public double LowFreqFactor { get; init; } = 1;

    /// <summary>llama3: frequencies that turn more often than this are fast; default 4.</summary>
    public double HighFreqFactor { get; init; } = 4;

    /// <summary>llama3: the longest text of the first training, in tokens; default 8192.</summary>
    public int OriginalMaxPositionEmbeddings { get; init; } = 8192;

    /// <summary>Reads either form of the files: <c>rope_theta</c> with <c>rope_scaling</c>, or <c>rope_parameters</c>, which newer ones have.</summary>
    internal static RotaryConfig Read(ConfigReader reader, double theta)
    {
        var (scaling, parameters, outer) = (reader.Part("rope_scaling"), reader.Part("rope_parameters"), reader.Value("rope_theta", theta));
        var defaults = new RotaryConfig();
        return (scaling ?? parameters) is not { } part ? defaults with { Theta = outer } : new RotaryConfig
        {
            Theta = part.Value("rope_theta", outer),
            Type = part.OptionalText("rope_type") ?? part.OptionalText("type") ?? defaults.Type,
            Factor = part.Value("factor", defaults.Factor),
            LowFreqFactor = part.Value("low_freq_factor", defaults.LowFreqFactor),
            HighFreqFactor = part.Value("high_freq_factor", defaults.HighFreqFactor),
            OriginalMaxPositionEmbeddings = part.Value("original_max_position_embeddings", defaults.OriginalMaxPositionEmbeddings),
        };
    }

    /// <summary>Both forms, so that every version of transformers finds its own.</summary>
    internal IEnumerable<KeyValuePair<string, JsonNode?>> ToJson()
    {
        var parameters = Parameters();
        parameters["rope_theta"] = PythonJson.Float(Theta);
        return [new("rope_theta", PythonJson.Float(Theta)), new("rope_scaling", Type == Plain ? null : Parameters()), new("rope_parameters", parameters)];
    }

    internal void Validate(Faults faults)
    {
        faults.Require(Theta > 0, $"rope_theta: got {Theta}, expected a number above 0");
        faults.Require(Type is Plain or Linear or Llama3, $"rope_type: got {Type}, supported is {Plain}, {Linear} or {Llama3}");
        faults.Require(Factor >= 1, $"rope_scaling.factor: got {Factor}, expected a number of at least 1");
        faults.Require(
            Type != Llama3 || (LowFreqFactor > 0 && HighFreqFactor > LowFreqFactor && OriginalMaxPositionEmbeddings > 0),
            $"rope_scaling: got low_freq_factor {LowFreqFactor}, high_freq_factor {HighFreqFactor} and original_max_position_embeddings "
                + $"{OriginalMaxPositionEmbeddings}, expected positive numbers, the first below the second");
    }

    /// <summary>The d/2 frequencies, in radians per token.</summary>
    internal float[] Frequencies(int d) => [.. Enumerable.Range(0, d / 2).Select(i => (float)Stretched(Math.Pow(Theta, -2.0 * i / d)))];

    private double Stretched(double frequency)
    {
        // How many turns it makes in a text of the first training, on a scale from slow (0) to fast (1).
        var turns = OriginalMaxPositionEmbeddings * frequency / (2 * Math.PI);
        var speed = Math.Clamp((turns - LowFreqFactor) / (HighFreqFactor - LowFreqFactor), 0, 1);
        return Type switch
        {
            Linear => frequency / Factor,
            Llama3 => ((1 - speed) * frequency / Factor) + (speed * frequency),
            _ => frequency,
        };
    }

    private JsonObject Parameters()
    {
        var parameters = new JsonObject { ["rope_type"] = Type };
        if (Type != Plain)
        {
            parameters["factor"] = PythonJson.Float(Factor);
        }

        if (Type == Llama3)
        {
            parameters["low_freq_factor"] = PythonJson.Float(LowFreqFactor);
            parameters["high_freq_factor"] = PythonJson.Float(HighFreqFactor);
            parameters["original_max_position_embeddings"] = OriginalMaxPositionEmbeddings;
        }

        return parameters;
    }
}

/// <summary>
/// Rotary position embedding: the numbers i and i + d/2 of a query or key are a point in a plane, turned by the token's position times a frequency,
/// so that the product of a query and a key depends on how far apart they are.
/// </summary>
/// <remarks>Source: Su et al. 2021 (arXiv:2104.09864), section 3.2; transformers, models/llama/modeling_llama.py, <c>apply_rotary_pos_emb</c>.</remarks>
internal static class RotaryEmbedding
{
    /// <summary>cos and sin of each token's angles.</summary>
    /// <param name="config">The frequencies.</param>
    /// <param name="positions">[N or 1, T].</param>
    /// <param name="d">The size of a head.</param>
    /// <param name="type">The type of the results; angles are computed in float32.</param>
    /// <returns>[N or 1, T, 1, d/2] each.</returns>
    public static (Tensor Cos, Tensor Sin) Angles(RotaryConfig config, Tensor positions, int d, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var frequencies = tensor(config.Frequencies(d), device: positions.device);
        var angles = (positions.to(ScalarType.Float32).unsqueeze(-1) * frequencies).unsqueeze(2);
        return (angles.cos().to(type).MoveToOuterDisposeScope(), angles.sin().to(type).MoveToOuterDisposeScope());
    }

    /// <summary>(x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin), x₁ and x₂ being the halves of each head.</summary>
    /// <param name="x">[N, T, heads, d].</param>
    /// <param name="cos">[N or 1, T, 1, d/2].</param>
    /// <param name="sin">[N or 1, T, 1, d/2].</param>
    public static Tensor Turn(Tensor x, Tensor cos, Tensor sin)
    {
        using var scope = NewDisposeScope();
        var halves = x.chunk(2, -1);
        var (x1, x2) = (halves[0], halves[1]);
        return cat([(x1 * cos) - (x2 * sin), (x2 * cos).Plus(x1 * sin)], -1).MoveToOuterDisposeScope();
    }
}
