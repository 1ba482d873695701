using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;

namespace LoraNotebooks.Models;

/// <summary>
/// How many weights a configuration asks for, told before anything is allocated: a damaged configuration can ask for more than any machine has.
/// Counted in floating point, which does not overflow.
/// </summary>
internal static class WeightCount
{
    /// <summary>The weights of a UNet.</summary>
    public static double Of(UNetConfig config)
    {
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        double time = 4.0 * channels[0];
        var count = Convolution(config.InChannels, channels[0], 3) + Linear(channels[0], time) + Linear(time, time)
            + (config.HasAddedConditions ? Linear(config.ProjectionClassEmbeddingsInputDim!.Value, time) + Linear(time, time) : 0)
            + Norm(channels[0]) + Convolution(channels[0], config.OutChannels, 3)
            + 2 * Resnet(channels[^1], channels[^1], time) + Transformer(channels[^1], config.MidTransformer());
        for (var level = 0; level <= lowest; level++)
        {
            double above = channels[Math.Max(level - 1, 0)], own = channels[level], below = channels[Math.Min(level + 1, lowest)];
            double layers = config.LayersPerBlock[level];

            // Contracting: the first residual block changes the number of channels, the others keep it.
            count += Resnet(above, own, time) + (layers - 1) * Resnet(own, own, time) + (level < lowest ? Convolution(own, own, 3) : 0);

            // Expanding: each residual block reads what comes from below, then its own channels, and a skip connection, the last one's from above.
            count += Resnet(below + own, own, time)
                + (layers - 1) * Resnet(own + own, own, time)
                + Resnet(own + above, own, time)
                + (level > 0 ? Convolution(own, own, 3) : 0);
            count += config.DownTransformer(level) is { } down ? layers * Transformer(own, down) : 0;
            count += config.UpTransformer(level) is { } up ? (layers + 1) * Transformer(own, up) : 0;
        }

        return count;
    }

    /// <summary>The weights of an autoencoder.</summary>
    public static double Of(AutoencoderKLConfig config)
    {
        var channels = config.BlockOutChannels;
        var lowest = channels.Count - 1;
        double latent = config.LatentChannels, layers = config.LayersPerBlock;
        var middle = 2 * Resnet(channels[^1], channels[^1]) + (config.MidBlockAddAttention ? Norm(channels[^1]) + 4 * Linear(channels[^1], channels[^1]) : 0);
        var count = (2 * middle)
            + Convolution(config.InChannels, channels[0], 3) + Norm(channels[^1]) + Convolution(channels[^1], 2 * latent, 3)
            + Convolution(latent, channels[^1], 3) + Norm(channels[0]) + Convolution(channels[0], config.OutChannels, 3)
            + (config.UseQuantConv ? Convolution(2 * latent, 2 * latent, 1) : 0) + (config.UsePostQuantConv ? Convolution(latent, latent, 1) : 0);
        for (var level = 0; level <= lowest; level++)
        {
            double above = channels[Math.Max(level - 1, 0)], own = channels[level], below = channels[Math.Min(level + 1, lowest)];
            count += Resnet(above, own) + (layers - 1) * Resnet(own, own) + (level < lowest ? Convolution(own, own, 3) : 0);
            count += Resnet(below, own) + layers * Resnet(own, own) + (level > 0 ? Convolution(own, own, 3) : 0);
        }

        return count;
    }

    /// <summary>The weights of a text encoder.</summary>
    public static double Of(ClipTextConfig config)
    {
        double size = config.HiddenSize;
        var layer = 4 * Linear(size, size) + Linear(size, config.IntermediateSize) + Linear(config.IntermediateSize, size) + 2 * Norm(size);
        return ((double)config.VocabSize + config.MaxPositionEmbeddings) * size + config.NumHiddenLayers * layer + Norm(size);
    }

    /// <summary>The weights of Llama or Qwen2.</summary>
    public static double Of(RotaryDecoderConfig config)
    {
        double size = config.HiddenSize, vocabulary = config.VocabSize, inner = config.IntermediateSize;
        double queries = (double)config.NumAttentionHeads * config.HeadSize, keys = (double)config.KeyValueHeads * config.HeadSize;
        var attention = Linear(size, queries, config.HasQueryKeyValueBias)
            + 2 * Linear(size, keys, config.HasQueryKeyValueBias)
            + Linear(queries, size, config.HasOutputBias);
        var mlp = 2 * Linear(size, inner, config.HasMlpBias) + Linear(inner, size, config.HasMlpBias);
        return (config.TieWordEmbeddings ? 1 : 2) * vocabulary * size + config.NumHiddenLayers * (attention + mlp + 2 * size) + size;
    }

    /// <summary>The weights of GPT-2.</summary>
    public static double Of(Gpt2Config config)
    {
        double size = config.HiddenSize, inner = config.InnerSize;
        var layer = Linear(size, 3 * size) + Linear(size, size) + Linear(size, inner) + Linear(inner, size) + 2 * Norm(size);
        return ((config.TieWordEmbeddings ? 1.0 : 2.0) * config.VocabSize + config.MaxPositionEmbeddings) * size + config.NumHiddenLayers * layer + Norm(size);
    }

    private static double Resnet(double inChannels, double outChannels, double? time = null) =>
        Norm(inChannels) + Convolution(inChannels, outChannels, 3) + (time is { } size ? Linear(size, outChannels) : 0)
        + Norm(outChannels) + Convolution(outChannels, outChannels, 3) + (inChannels == outChannels ? 0 : Convolution(inChannels, outChannels, 1));

    private static double Transformer(double channels, TransformerOptions options)
    {
        var inner = options.Heads * Math.Floor(channels / options.Heads);
        double text = options.CrossAttentionDimension;
        var block = Attention(inner, options.OnlyCrossAttention ? text : inner) + Attention(inner, text)
            + Linear(inner, 8 * inner) + Linear(4 * inner, inner) + 3 * Norm(inner);
        return Norm(channels) + Linear(channels, inner) + options.Layers * block + Linear(inner, channels);
    }

    /// <summary>Query, key and value have no bias.</summary>
    private static double Attention(double size, double context) => size * size + 2 * context * size + Linear(size, size);

    private static double Linear(double inputs, double outputs, bool hasBias = true) => inputs * outputs + (hasBias ? outputs : 0);

    private static double Convolution(double inChannels, double outChannels, double kernel) => kernel * kernel * inChannels * outChannels + outChannels;

    private static double Norm(double size) => 2 * size;
}
