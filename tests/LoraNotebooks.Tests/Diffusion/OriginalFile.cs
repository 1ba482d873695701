using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Diffusion;

/// <summary>Writes models as the original code does, under names that are written down here once more, by hand.</summary>
internal static class OriginalFile
{
    /// <summary>A tiny SDXL, and its original file beside its tokenizer and the configurations that shapes do not tell.</summary>
    public static StableDiffusionPipeline SaveXL(string folder, bool isUsual = false)
    {
        var pipeline = TinyPipeline.CreateXL(isUsual);
        pipeline.Save(folder);
        var original = Original(folder, ("text_encoder", "conditioner.embedders.0.transformer.", static name => name), ("text_encoder_2", "conditioner.embedders.1.model.", OpenClipName));
        const string projection = "conditioner.embedders.1.model.text_projection";
        original[projection] = original[projection].t().contiguous(); // OpenCLIP has rows for columns
        SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), original);
        return pipeline;
    }

    /// <summary>A tiny Stable Diffusion 2.x likewise: OpenCLIP alone, with what only its own training uses, and one layer more than is made use of.</summary>
    public static StableDiffusionPipeline SaveSd2(string folder)
    {
        var pipeline = TinyPipeline.Create(change: static unet => unet with
        {
            DownBlockTypes = ["DownBlock2D", "CrossAttnDownBlock2D"],
            UpBlockTypes = ["CrossAttnUpBlock2D", "UpBlock2D"],
            UseLinearProjection = true,
        });
        pipeline.Save(folder);
        const string text = "cond_stage_model.model.";
        var original = Original(folder, ("text_encoder", text, OpenClipName));
        foreach (var (name, tensor) in original.Where(static pair => pair.Key.Contains("resblocks.1.", StringComparison.Ordinal)).ToList())
        {
            original[name.Replace("resblocks.1.", "resblocks.2.", StringComparison.Ordinal)] = tensor;
        }

        (original[text + "text_projection"], original[text + "logit_scale"]) = (zeros(6, 6), zeros(1));
        SafetensorsFile.Write(Path.Combine(folder, "model.safetensors"), original);
        return pipeline;
    }

    /// <summary>The tensors of a saved model under their original names.</summary>
    private static Dictionary<string, Tensor> Original(string folder, params (string Part, string Prefix, Func<string, string> Name)[] texts)
    {
        var original = new Dictionary<string, Tensor>();
        Add("unet", "diffusion_pytorch_model", "model.diffusion_model.", UNetName);
        Add("vae", "diffusion_pytorch_model", "first_stage_model.", VaeName);
        Array.ForEach(texts, text => Add(text.Part, "model", text.Prefix, text.Name));
        Fuse(original);
        return original;

        void Add(string part, string file, string prefix, Func<string, string> rename)
        {
            foreach (var (name, tensor) in SafetensorsFile.LoadAll(Path.Combine(folder, part, file + ".safetensors")))
            {
                var isPoint = part == "vae" && name.Contains(".attentions.", StringComparison.Ordinal) && tensor.dim() == 2;
                original[prefix + rename(name)] = isPoint ? tensor.unsqueeze(-1).unsqueeze(-1) : tensor;
            }
        }
    }

    private static string UNetName(string name) => Replace(
        name,
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"), ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"), ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"), ("mid_block.resnets.1", "middle_block.2"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"), ("up_blocks.0.attentions.0", "output_blocks.0.1"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"), ("up_blocks.0.attentions.1", "output_blocks.1.1"), ("up_blocks.0.upsamplers.0", "output_blocks.1.2"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"), ("up_blocks.1.resnets.1", "output_blocks.3.0"),
        ("conv_shortcut", "skip_connection"), ("time_emb_proj", "emb_layers.1"),
        ("0.norm1", "0.in_layers.0"), ("0.conv1", "0.in_layers.2"), ("0.norm2", "0.out_layers.0"), ("0.conv2", "0.out_layers.3"),
        ("middle_block.2.norm1", "middle_block.2.in_layers.0"), ("middle_block.2.conv1", "middle_block.2.in_layers.2"),
        ("middle_block.2.norm2", "middle_block.2.out_layers.0"), ("middle_block.2.conv2", "middle_block.2.out_layers.3"),
        ("transformer_blocks.0.in_layers.0", "transformer_blocks.0.norm1"), ("transformer_blocks.0.out_layers.0", "transformer_blocks.0.norm2"));

    private static string VaeName(string name) => Replace(
        name,
        ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"),
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"), ("mid_block.attentions.0", "mid.attn_1"),
        ("attn_1.group_norm", "attn_1.norm"), ("attn_1.to_q", "attn_1.q"), ("attn_1.to_k", "attn_1.k"), ("attn_1.to_v", "attn_1.v"), ("attn_1.to_out.0", "attn_1.proj_out"),
        ("down_blocks.0.", "down.0."), ("down_blocks.1.", "down.1."), ("up_blocks.0.", "up.1."), ("up_blocks.1.", "up.0."),
        ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"));

    private static string OpenClipName(string name) => Replace(
        name,
        ("text_model.encoder.layers", "transformer.resblocks"), ("text_model.final_layer_norm", "ln_final"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("self_attn", "attn"),
        ("text_model.embeddings.token_embedding", "token_embedding"), ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_projection.weight", "text_projection"));

    /// <summary>OpenCLIP keeps query, key and value in one tensor.</summary>
    private static void Fuse(Dictionary<string, Tensor> tensors)
    {
        foreach (var query in tensors.Keys.Where(key => key.Contains("resblocks", StringComparison.Ordinal) && key.Contains(".q_proj.", StringComparison.Ordinal)).ToList())
        {
            string[] keys = [query, query.Replace(".q_proj.", ".k_proj.", StringComparison.Ordinal), query.Replace(".q_proj.", ".v_proj.", StringComparison.Ordinal)];
            tensors[query.Replace(".q_proj.", ".in_proj_", StringComparison.Ordinal)] = cat([.. keys.Select(key => tensors[key])]);
            Array.ForEach(keys, key => tensors.Remove(key));
        }
    }

    private static string Replace(string name, params (string Old, string New)[] pairs) =>
        pairs.Aggregate(name, static (text, pair) => text.Replace(pair.Old, pair.New, StringComparison.Ordinal));
}
