using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Formats;

/// <summary>What a LoRA is for and what made it, told by names, widths and metadata.</summary>
public sealed class LoraOriginTests
{
    private const string Down = ".lora_down.weight";

    [Theory]
    [InlineData("lora_prior_unet_a", LoraArchitecture.StableCascade)]
    [InlineData("transformer.transformer_blocks.0.img_mlp.net", LoraArchitecture.QwenImage)]
    [InlineData("transformer.transformer_blocks.0.txt_mod.1", LoraArchitecture.QwenImage)]
    [InlineData("lora_unet_double_blocks_0_img_attn_qkv", LoraArchitecture.Flux)]
    [InlineData("transformer.single_transformer_blocks.0.attn.to_q", LoraArchitecture.Flux)]
    [InlineData("lora_unet_single_blocks_0_linear1", LoraArchitecture.Flux)]
    [InlineData("lora_unet_joint_blocks_0_x_block_attn_qkv", LoraArchitecture.StableDiffusion3)]
    [InlineData("transformer.transformer_blocks.0.attn.add_q_proj", LoraArchitecture.StableDiffusion3)]
    [InlineData("lora_te3_encoder_block_0", LoraArchitecture.StableDiffusion3)]
    [InlineData("diffusion_model.blocks.0.self_attn.q", LoraArchitecture.Wan)]
    [InlineData("diffusion_model.blocks.0.cross_attn.q", LoraArchitecture.Wan)]
    [InlineData("lora_unet_blocks_0_ffn_0", LoraArchitecture.Wan)]
    [InlineData("unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q", LoraArchitecture.StableDiffusionXL)]
    [InlineData("lora_unet_input_blocks_4_1_transformer_blocks_9_attn1_to_q", LoraArchitecture.StableDiffusionXL)]
    [InlineData("lora_unet_middle_block_1_transformer_blocks_2_attn1_to_q", LoraArchitecture.StableDiffusionXL)]
    [InlineData("unet.add_embedding.linear_1", LoraArchitecture.StableDiffusionXL)]
    [InlineData("lora_unet_label_emb_0_0", LoraArchitecture.StableDiffusionXL)]
    [InlineData("lora_te2_text_model_encoder_layers_0_mlp_fc1", LoraArchitecture.StableDiffusionXL)]
    [InlineData("transformer.transformer_blocks.0.attn1.to_q", LoraArchitecture.DiffusionTransformer)]
    [InlineData("lora_unet_transformer_blocks_0_attn", LoraArchitecture.DiffusionTransformer)]
    [InlineData("unet.adaln_single.linear", LoraArchitecture.DiffusionTransformer)]
    [InlineData("base_model.model.model.layers.0.self_attn.q_proj", LoraArchitecture.LanguageModel)]
    [InlineData("base_model.model.layers.0.mlp.up_proj", LoraArchitecture.LanguageModel)]
    [InlineData("base_model.model.transformer.h.0.attn.c_attn", LoraArchitecture.LanguageModel)]
    [InlineData("base_model.model.h.0.mlp.c_fc", LoraArchitecture.LanguageModel)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", LoraArchitecture.StableDiffusion)]
    [InlineData("unet.up_blocks.3.attentions.0.proj_in", LoraArchitecture.StableDiffusion)]
    [InlineData("lora_unet_input_blocks_1_1_proj_in", LoraArchitecture.StableDiffusion)]
    [InlineData("lora_unet_output_blocks_11_1_proj_in", LoraArchitecture.StableDiffusion)]
    [InlineData("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", LoraArchitecture.Unknown)]
    [InlineData("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", LoraArchitecture.Unknown)]
    [InlineData("unet.mid_block.resnets.0.conv1", LoraArchitecture.Unknown)]
    public void Architecture_ByAName_IsTheOneThatHasIt(string module, LoraArchitecture expected) => Assert.Equal(expected, Of([module + Down]).Architecture);

    /// <summary>Names that several kinds have are settled by the others in the file.</summary>
    [Theory]
    [InlineData(LoraArchitecture.Flux, "lora_te2_encoder_block_0", "lora_unet_double_blocks_0_img_attn_qkv")]
    [InlineData(LoraArchitecture.StableDiffusion3, "lora_te2_text_model_encoder_layers_0", "lora_unet_joint_blocks_0_x_block_attn_qkv")]
    [InlineData(LoraArchitecture.StableDiffusion3, "lora_te2_text_model_encoder_layers_0", "lora_te3_encoder_block_0")]
    [InlineData(LoraArchitecture.DiffusionTransformer, "lora_te2_text_model_encoder_layers_0", "transformer.x_embedder")]
    [InlineData(LoraArchitecture.StableDiffusionXL, "lora_te2_text_model_encoder_layers_0", "unet.down_blocks.0.attentions.0.proj_in")]
    [InlineData(LoraArchitecture.StableDiffusionXL, "unet.down_blocks.1.attentions.0.transformer_blocks.1.ff", "unet.down_blocks.0.attentions.0.proj_in")]
    public void Architecture_BySeveralNames_IsTheOneThatHasThemAll(LoraArchitecture expected, params string[] modules) =>
        Assert.Equal(expected, Of([.. modules.Select(static module => module + Down)]).Architecture);

    /// <summary>The width of the text that attentions look at, in A of to_k and to_v only.</summary>
    [Theory]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", 768, LoraArchitecture.StableDiffusion1)]
    [InlineData("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.lora_down.weight", 1024, LoraArchitecture.StableDiffusion2)]
    [InlineData("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.hada_w1_b", 2048, LoraArchitecture.StableDiffusionXL)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", 2048, LoraArchitecture.StableDiffusionXL)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", 512, LoraArchitecture.StableDiffusion)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight", 768, LoraArchitecture.StableDiffusion)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.lora_A.weight", 768, LoraArchitecture.StableDiffusion)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.lora_A.weight", 768, LoraArchitecture.StableDiffusion)]
    [InlineData("unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k.lora_A.weight", 768, LoraArchitecture.StableDiffusionXL)]
    public void Architecture_ByTheWidthOfText_IsThatModels(string name, long width, LoraArchitecture expected) =>
        Assert.Equal(expected, Of([(name, [4, width])]).Architecture);

    [Fact]
    public void Architecture_OfAFactorOfOneSize_HasNoWidth() => Assert.Equal(
        LoraArchitecture.StableDiffusion,
        Of([("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", [768])]).Architecture);

    /// <summary>Stable Diffusion 2.x has 23 layers of text, 1.x has 12.</summary>
    [Theory]
    [InlineData("lora_te_text_model_encoder_layers_12_mlp_fc1", LoraArchitecture.StableDiffusion2)]
    [InlineData("lora_te_text_model_encoder_layers_22_mlp_fc1", LoraArchitecture.StableDiffusion2)]
    [InlineData("lora_te_text_model_encoder_layers_11_mlp_fc1", LoraArchitecture.Unknown)]
    public void Architecture_ByTheDepthOfText_IsSecondOrUnknown(string module, LoraArchitecture expected) =>
        Assert.Equal(expected, Of([module + Down]).Architecture);

    [Theory]
    [InlineData("modelspec.architecture", "stable-diffusion-xl-v1-base/lora", LoraArchitecture.StableDiffusionXL)]
    [InlineData("ss_base_model_version", "SDXL_base_v1-0", LoraArchitecture.StableDiffusionXL)]
    [InlineData("modelspec.architecture", "stable-diffusion-3-medium/lora", LoraArchitecture.StableDiffusion3)]
    [InlineData("ss_base_model_version", "sd3m", LoraArchitecture.StableDiffusion3)]
    [InlineData("modelspec.architecture", "flux-1-dev/lora", LoraArchitecture.Flux)]
    [InlineData("modelspec.architecture", "Qwen-Image/lora", LoraArchitecture.QwenImage)]
    [InlineData("modelspec.architecture", "wan2.1/lora", LoraArchitecture.Wan)]
    [InlineData("modelspec.architecture", "stable-diffusion-v2-768-v/lora", LoraArchitecture.StableDiffusion2)]
    [InlineData("ss_base_model_version", "sd_v2", LoraArchitecture.StableDiffusion2)]
    [InlineData("modelspec.architecture", "stable-diffusion-v1/lora", LoraArchitecture.StableDiffusion1)]
    [InlineData("ss_base_model_version", "sd_v1", LoraArchitecture.StableDiffusion1)]
    [InlineData("ss_base_model_version", "sd_1.5", LoraArchitecture.StableDiffusion1)]
    [InlineData("ss_base_model_version", "other", LoraArchitecture.Unknown)]
    [InlineData("ss_output_name", "sdxl", LoraArchitecture.Unknown)]
    public void Architecture_OfNamesThatDoNotTell_IsTheOneNoted(string key, string value, LoraArchitecture expected) =>
        Assert.Equal(expected, Of(["unet.mid_block.resnets.0.conv1" + Down], (key, value)).Architecture);

    /// <summary>A note settles first or second, but never gainsays the names or the widths.</summary>
    [Theory]
    [InlineData("unet.down_blocks.0.attentions.0.proj_in" + Down, 4, "sd_v2", LoraArchitecture.StableDiffusion2)]
    [InlineData("unet.down_blocks.0.attentions.0.proj_in" + Down, 4, "flux", LoraArchitecture.StableDiffusion)]
    [InlineData("lora_unet_double_blocks_0_img_attn_qkv" + Down, 4, "sd_v1", LoraArchitecture.Flux)]
    [InlineData("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", 768, "sdxl", LoraArchitecture.StableDiffusion1)]
    public void Architecture_WithANote_FollowsNamesAndWidthsFirst(string name, long width, string noted, LoraArchitecture expected) =>
        Assert.Equal(expected, Of([(name, [4, width])], ("ss_base_model_version", noted)).Architecture);

    [Theory]
    [InlineData("unet.a.lora_A.weight", null, null, null)]
    [InlineData("unet.a.lora_A.weight", "software", "{\"name\": \"ai-toolkit\", \"version\": 1}", "ai-toolkit")]
    [InlineData("unet.a.lora_A.weight", "software", "something", null)]
    [InlineData("unet.a.lora_A.weight", "ot_revision", "1", "OneTrainer")]
    [InlineData("bundle_emb.a.clip_l", null, null, "OneTrainer")]
    [InlineData("unet.a.lora_A.weight", "ss_network_module", "lycoris.kohya", "LyCORIS")]
    [InlineData("lycoris_a.lora_up.weight", null, null, "LyCORIS")]
    [InlineData("unet.a.lora_A.weight", "ss_network_module", "networks.lora", "kohya-ss/sd-scripts or in its format")]
    [InlineData("unet.a.lora_A.weight", "ss_network_module", "mine", null)]
    [InlineData("base_model.model.a.lora_A.weight", null, null, "PEFT")]
    [InlineData("unet.a.lora_A.weight", "lora_adapter_metadata", "{}", "diffusers")]
    public void Tool_ByNamesAndNotes_IsTheOneThatWritesThem(string name, string? key, string? value, string? expected) =>
        Assert.Equal(expected, (key is null ? Of([name]) : Of([name], (key, value!))).Tool);

    [Fact]
    public void Agree_OfKindsOfModels_HoldsForTheSameTheUnknownAndTheUnsettled()
    {
        var kinds = Enum.GetValues<LoraArchitecture>();
        foreach (var one in kinds)
        {
            foreach (var other in kinds)
            {
                LoraArchitecture[] pair = [one, other];
                var expected = one == other || pair.Contains(LoraArchitecture.Unknown)
                    || (pair.Contains(LoraArchitecture.StableDiffusion)
                        && (pair.Contains(LoraArchitecture.StableDiffusion1) || pair.Contains(LoraArchitecture.StableDiffusion2)));
                Assert.True(expected == LoraOrigin.Agree(one, other), $"{one}, {other}");
            }
        }
    }

    [Theory]
    [InlineData(LoraArchitecture.Unknown, "an unknown model")]
    [InlineData(LoraArchitecture.StableDiffusion, "Stable Diffusion 1.x or 2.x")]
    [InlineData(LoraArchitecture.StableDiffusion1, "Stable Diffusion 1.x")]
    [InlineData(LoraArchitecture.StableDiffusion2, "Stable Diffusion 2.x")]
    [InlineData(LoraArchitecture.StableDiffusionXL, "Stable Diffusion XL (SDXL)")]
    [InlineData(LoraArchitecture.StableDiffusion3, "Stable Diffusion 3.x")]
    [InlineData(LoraArchitecture.Flux, "Flux or a model built like it")]
    [InlineData(LoraArchitecture.StableCascade, "Stable Cascade")]
    [InlineData(LoraArchitecture.QwenImage, "Qwen-Image")]
    [InlineData(LoraArchitecture.Wan, "Wan")]
    [InlineData(LoraArchitecture.DiffusionTransformer, "a diffusion transformer")]
    [InlineData(LoraArchitecture.LanguageModel, "a language model")]
    public void Text_OfAKind_IsItsName(LoraArchitecture architecture, string expected) => Assert.Equal(expected, new LoraOrigin(architecture, null).Text);

    [Fact]
    public void Mismatch_OfAnotherModel_SaysBothAndWhatToDo()
    {
        Assert.Equal(
            "This LoRA is for Wan (made with a tool), the pipeline is Stable Diffusion 1.x. Expected a LoRA for Stable Diffusion 1.x: "
                + "take one, or load a model that this LoRA is for.",
            new LoraOrigin(LoraArchitecture.Wan, "a tool").Mismatch(LoraArchitecture.StableDiffusion1));
        Assert.Contains("is for Wan, the pipeline", new LoraOrigin(LoraArchitecture.Wan, null).Mismatch(LoraArchitecture.Flux));
        Assert.Null(new LoraOrigin(LoraArchitecture.Wan, null).Mismatch(LoraArchitecture.Wan));
    }

    private static LoraOrigin Of(string[] names, params (string Key, string Value)[] metadata) =>
        Of([.. names.Select(static name => (name, new long[] { 4, 8 }))], metadata);

    private static LoraOrigin Of((string Name, long[] Shape)[] tensors, params (string Key, string Value)[] metadata) => LoraOrigin.Of(
        tensors.ToDictionary(
            static tensor => tensor.Name,
            static tensor => new SafetensorInfo(tensor.Name, ScalarType.Float32, tensor.Shape, 0, 0) { StoredType = "F32" }),
        metadata.ToDictionary(static pair => pair.Key, static pair => pair.Value));
}
